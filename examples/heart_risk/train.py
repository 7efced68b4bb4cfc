"""Train the heart-risk example: a perceptron on half of a health survey, judged on answers never seen.

    python examples/heart_risk/train.py --data DIR --out DIR [--epochs N] [--seed 0]

DIR holds, anywhere below, brfss2020_heart_dev.csv.gz (HeartDisease, BMI, Smoking, ...).
"""

import argparse
import csv
import gzip
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from network import FEATURES, build
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from primum.data.preprocessing_table import TablePreprocessing

HERE = Path(__file__).resolve().parent
SPLIT_KEY = b"primum heart risk example"
LABEL = "HeartDisease"
NUMERIC = ("BMI", "PhysicalHealth", "MentalHealth", "SleepTime")
TRAINING_SHARE, MOST_JUDGED = 0.5, 60_000
BATCH, PEAK_RATE, WEIGHT_DECAY = 512, 2e-3, 0.01

Row = dict[str, str]


def answer_share(row: Row) -> float:
    """Return a fixed place in [0, 1) of these answers: people who answered alike fall on one side together."""
    answers = json.dumps({key: value for key, value in row.items() if key != LABEL}, sort_keys=True)
    return int.from_bytes(hashlib.blake2b(answers.encode(), key=SPLIT_KEY, digest_size=8).digest(), "big") / 2**64


def read_rows(data: Path) -> list[Row]:
    """Return the rows of the survey."""
    found = sorted(data.rglob("brfss2020_heart_dev.csv.gz"))
    if not found:
        raise SystemExit(f"{data}: holds no brfss2020_heart_dev.csv.gz")
    with gzip.open(found[0], "rt", newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def split_rows(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return (fitting, judging) rows, of the judging ones at most MOST_JUDGED; no answers are in both."""
    places = [answer_share(row) for row in rows]
    fitting = [row for row, place in zip(rows, places) if place < TRAINING_SHARE]
    others = sorted((place, index) for index, place in enumerate(places) if place >= TRAINING_SHARE)
    return fitting, [rows[index] for _, index in others[:MOST_JUDGED]]


def read_inputs(rows: list[Row], preprocessing: TablePreprocessing) -> tuple[Tensor, Tensor]:
    """Return features float32 (N, F) and labels float32 (N,), 1.0 for heart disease."""
    features = np.stack([preprocessing(row) for row in rows])
    return torch.from_numpy(features), torch.tensor([float(row[LABEL] == "Yes") for row in rows])


def fit(features: Tensor, labels: Tensor, epochs: int, seed: int) -> nn.Module:
    """Return the network after a fixed number of epochs."""
    torch.manual_seed(seed)
    network = build()
    loss_of = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    for epoch in range(1, epochs + 1):
        order, total = torch.randperm(len(labels), generator=generator), 0.0
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            loss = loss_of(network(features[rows])[:, 0], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * BATCH
        print(f"epoch {epoch:2d}/{epochs}  loss {total / len(order):.4f}", flush=True)
    return network.eval()


@torch.inference_mode()
def judge(network: nn.Module, features: Tensor, labels: Tensor, threshold: float) -> dict[str, float]:
    """Return AUROC and Brier score, and sensitivity and specificity at the threshold."""
    scores = torch.cat([network(part)[:, 0].sigmoid() for part in features.split(4096)]).numpy()
    sick = labels.numpy() == 1
    return {
        "auroc": round(auroc(sick, scores), 4),
        "brier": round(float(np.mean((scores - sick) ** 2)), 4),
        "sensitivity": round(float((scores[sick] >= threshold).mean()), 4),
        "specificity": round(float((scores[~sick] < threshold).mean()), 4),
    }


def auroc(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """Return the share of (positive, negative) pairs in the right order, ties half: the Mann-Whitney statistic."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    n = int(positive.sum())
    return float((middle[place][positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV with the columns they came with."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def next_command(out: Path, threshold: float) -> str:
    """Return the command, for the repository root, that optimizes what was trained."""
    return " \\\n    ".join(
        [
            "primum optimize --model examples.heart_risk.network:build",
            f"--checkpoint {out / 'weights.safetensors'}",
            f"--data {out / 'judge.csv'} --train-data {out / 'train.csv'}",
            f"--preprocessing {out / 'preprocessing.yaml'}",
            f"--label-column {LABEL} --positive-class Yes --threshold {threshold:g}",
            "--group-columns Sex,AgeCategory,Race --independent",
            f"--out {out / 'result'}",
        ]
    )


def main() -> None:
    """Split, train, judge once, write everything and name the next command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brfss2020_heart_dev.csv.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, tables and preprocessing.yaml")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    fitting, judging = split_rows(read_rows(arguments.data))
    categorical = [name for name in fitting[0] if name not in (LABEL, *NUMERIC)]
    preprocessing = TablePreprocessing.fit(fitting, numeric=NUMERIC, categorical=categorical)
    if len(preprocessing.features) != FEATURES:
        raise SystemExit(f"the columns become {len(preprocessing.features)} features, the network takes {FEATURES}")
    print(f"answers: {len(fitting)} to fit, {len(judging)} to judge")
    features, labels = read_inputs(fitting, preprocessing)
    # The disease's share: whoever is likelier to have it than the average person is called.
    threshold = round(float(labels.mean()), 3)
    start = time.perf_counter()
    network = fit(features, labels, arguments.epochs, arguments.seed)
    seconds = time.perf_counter() - start
    unseen = judge(network, *read_inputs(judging, preprocessing), threshold)
    (out / "weights.safetensors").write_bytes(save(network.state_dict()))
    (out / "preprocessing.yaml").write_text(
        yaml.safe_dump(preprocessing.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
    )
    write_rows(out / "train.csv", fitting)
    write_rows(out / "judge.csv", judging)
    record = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "threshold": threshold,
        "training_seconds": round(seconds, 1),
        "fitting": {"answers": len(fitting), "positives": sum(row[LABEL] == "Yes" for row in fitting)},
        "judging": {"answers": len(judging), "positives": sum(row[LABEL] == "Yes" for row in judging)},
        "answers_never_seen": unseen,
    }
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"trained in {seconds:.0f} s; answers never seen: {unseen}")
    print(f"wrote weights.safetensors, preprocessing.yaml, train.csv, judge.csv, training.json to {out}")
    print("next, from the repository root:\n\n" + next_command(out, threshold))


if __name__ == "__main__":
    main()
