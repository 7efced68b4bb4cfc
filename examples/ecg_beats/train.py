"""Train the ECG example: a 1-D network on the beats of nine records, judged on records never seen.

    python examples/ecg_beats/train.py --data DIR --out DIR [--epochs N] [--seed 0]

DIR holds subjects.csv (record, age, sex) and, anywhere below, mitbih_ds1.npz (x, y, record, ...).
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from network import build
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
CLASSES = ("N", "S", "V", "F", "Q")
TRAINING_RECORDS = (106, 109, 114, 118, 119, 124, 203, 209, 223)
SAME_MAN = {202: 201}
"""Record -> the record that shows the same person: only one of the two is used."""
BATCH, PEAK_RATE, WEIGHT_DECAY = 128, 2e-3, 0.02

Beats = dict[str, NDArray[np.generic]]


def read_beats(data: Path) -> Beats:
    """Return x (n, 3, 280) int16, y (n,) and record (n,) of every file below data, each person once."""
    files = sorted(data.rglob("mitbih_ds*.npz"))
    if not files:
        raise SystemExit(f"{data}: holds no mitbih_ds*.npz")
    parts = [dict(np.load(file, allow_pickle=False)) for file in files]
    beats = {key: np.concatenate([part[key] for part in parts]) for key in ("y", "record")}
    beats["x"] = np.concatenate([with_intervals(part["x"], part["rr"]) for part in parts])
    here = set(beats["record"].tolist())
    twice = [record for record, other in SAME_MAN.items() if record in here and other in here]
    return chosen(beats, ~np.isin(beats["record"], twice))


def with_intervals(waves: NDArray[np.int16], intervals: NDArray[np.int32]) -> NDArray[np.int16]:
    """Return waves (n, 280) with the RR intervals (n, 2), in samples, as two further channels: (n, 3, 280)."""
    constant = np.broadcast_to(intervals[:, :, None], (*intervals.shape, waves.shape[1]))
    return np.concatenate([waves[:, None], constant], axis=1).astype(np.int16)


def chosen(beats: Beats, rows: NDArray[np.bool_]) -> Beats:
    """Return the beats at rows."""
    return {key: values[rows] for key, values in beats.items()}


def read_inputs(beats: Beats) -> Tensor:
    """Return the beats as preprocessing.yaml says: float32 (n, 3, 280)."""
    spec = yaml.safe_load((HERE / "preprocessing.yaml").read_text(encoding="utf-8"))
    return torch.from_numpy(beats["x"] / np.array(spec["std"], np.float32)[:, None])


def augment(beats: Tensor, generator: torch.Generator) -> Tensor:
    """Change the timing of the waves, their slow drift and the heart rate a little: (n, 3, 280)."""
    count, _, length = beats.shape
    shift = torch.randint(-8, 9, (count, 1), generator=generator)
    wave = beats[:, 0].gather(1, (torch.arange(length) + shift).clamp(0, length - 1))
    drift = 0.1 * torch.randn((count, 1), generator=generator) * torch.linspace(-1, 1, length)
    rate = 1 + 0.3 * (torch.rand((count, 1, 1), generator=generator) - 0.5)
    noise = 0.02 * torch.randn((count, length), generator=generator)
    return torch.cat([(wave + drift + noise)[:, None], beats[:, 1:] * rate], dim=1)


def fit(beats: Beats, epochs: int, seed: int) -> nn.Module:
    """Return the network after a fixed number of epochs."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = build()
    inputs, labels = read_inputs(beats), torch.from_numpy(beats["y"].astype(np.int64))
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.02)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    network.train()
    for epoch in range(1, epochs + 1):
        order, total = torch.randperm(len(labels), generator=generator), 0.0
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            loss = loss_of(network(augment(inputs[rows], generator)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * BATCH
        print(f"epoch {epoch:2d}/{epochs}  loss {total / len(order):.4f}", flush=True)
    return network.eval()


@torch.inference_mode()
def judge(network: nn.Module, beats: Beats) -> dict[str, object]:
    """Return accuracy, and for each class its beats, sensitivity and AUROC against the rest (None: nothing to say)."""
    scores = torch.cat([network(part).softmax(1) for part in read_inputs(beats).split(512)]).numpy()
    calls, labels = scores.argmax(axis=1), beats["y"]
    by_class = {}
    for index, name in enumerate(CLASSES):
        here = labels == index
        by_class[name] = {
            "beats": int(here.sum()),
            "sensitivity": round(float((calls[here] == index).mean()), 4) if here.any() else None,
            "auroc": round(auroc(here, scores[:, index]), 4) if here.any() else None,
        }
    return {"accuracy": round(float((calls == labels).mean()), 4), "classes": by_class}


def auroc(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """Return the share of (positive, negative) pairs in the right order, ties half: the Mann-Whitney statistic."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    n = int(positive.sum())
    return float((middle[place][positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def save_columns(beats: Beats, data: Path, path: Path) -> None:
    """Write x, y (names), record, sex and age_band of the beats as one .npz."""
    with (data / "subjects.csv").open(newline="", encoding="utf-8") as handle:
        people = {int(row["record"]): row for row in csv.DictReader(handle)}
    rows = [people[int(record)] for record in beats["record"]]
    np.savez_compressed(
        path,
        x=beats["x"],
        y=np.array(CLASSES)[beats["y"]],
        record=beats["record"],
        sex=np.array([row["sex"] for row in rows]),
        age_band=np.array([age_band(int(row["age"])) for row in rows]),
    )


def age_band(years: int) -> str:
    """Return the band; -1 stands for an age that is not known."""
    return "" if years < 0 else "under 65" if years < 65 else "65 and over"


def next_command(out: Path) -> str:
    """Return the command, for the repository root, that optimizes what was trained."""
    spec = Path(os.path.relpath(HERE / "preprocessing.yaml", HERE.parents[1]))
    return " \\\n    ".join(
        [
            "primum optimize --model examples.ecg_beats.network:build",
            f"--checkpoint {out / 'weights.safetensors'}",
            f"--data {out / 'judge.npz'} --train-data {out / 'train.npz'}",
            f"--preprocessing {spec}",
            f"--path-column x --label-column y --classes {','.join(CLASSES)}",
            "--patient-column record --group-columns sex,age_band",
            f"--out {out / 'result'}",
        ]
    )


def main() -> None:
    """Split by record, train, judge once, write everything and name the next command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with subjects.csv and mitbih_ds1.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and columns")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    beats = read_beats(data)
    training = np.isin(beats["record"], TRAINING_RECORDS)
    fitting, judging = chosen(beats, training), chosen(beats, ~training)
    print(f"beats: {len(fitting['y'])} to fit, {len(judging['y'])} to judge")
    start = time.perf_counter()
    network = fit(fitting, arguments.epochs, arguments.seed)
    seconds = time.perf_counter() - start
    unseen = judge(network, judging)
    (out / "weights.safetensors").write_bytes(save(network.state_dict()))
    save_columns(fitting, data, out / "train.npz")
    save_columns(judging, data, out / "judge.npz")
    record = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "training_seconds": round(seconds, 1),
        "training_records": sorted(set(fitting["record"].tolist())),
        "judging_records": sorted(set(judging["record"].tolist())),
        "records_never_seen": unseen,
    }
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"trained in {seconds:.0f} s; records never seen: {json.dumps(unseen, indent=1)}")
    print(f"wrote weights.safetensors, train.npz, judge.npz, training.json to {out}")
    print("next, from the repository root:\n\n" + next_command(out))


if __name__ == "__main__":
    main()
