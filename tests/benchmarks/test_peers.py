"""The benchmark against other tools: what it calls passed, what it writes, and that it runs."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def parts(monkeypatch):
    """The modules of the benchmark."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import peer_models
    import peer_olive
    import peer_page

    return peer_models, peer_olive, peer_page


def outcome(page, chosen, best, slower=1.5):
    """A run in which the chosen artifact and the best peer have these (ratio, lower, upper)."""

    def row(name, figures, chosen=False):
        return page.Row(name, "fp32", 1.0, *figures, same=1.0, megabytes=1.0, contended=False, chosen=chosen)

    rows = (
        row("eager", (1.0, 1.0, 1.0)),
        row("slow", (slower, slower, slower)),
        row("best", best),
        row("ours", chosen, chosen=True),
    )
    return page.Outcome(
        "mlp", "A network", rows, (1.0, 0.9, 1.1), ("Olive: no",), ("x: 1.0x",), "cpu", "torch 2", "1 round"
    )


@pytest.mark.parametrize(
    ("chosen", "best", "passed"),
    [
        ((5.0, 4.9, 5.1), (4.0, 3.9, 4.1), True),
        ((3.9, 3.8, 4.0), (4.0, 3.9, 4.1), True),
        # Equal within noise, yet more than 3 % slower.
        ((3.8, 3.0, 4.5), (4.0, 3.9, 4.1), False),
        # Within 3 %, yet beyond what noise explains.
        ((3.9, 3.89, 3.91), (4.0, 3.95, 4.1), False),
    ],
)
def test_what_passes(parts, chosen, best, passed):
    _, _, page = parts
    found = outcome(page, chosen, best)
    assert found.best.name == "best"
    assert found.passed is passed
    assert page.verdict(found).startswith("PASS" if passed else "FAIL")


def test_eager_may_be_the_best_peer(parts):
    _, _, page = parts
    found = outcome(page, (0.9, 0.9, 0.9), (0.8, 0.8, 0.8), slower=0.5)
    assert found.best.name == "eager"
    assert not found.passed


def test_the_page_is_the_stored_figures(parts):
    _, _, page = parts
    won, lost = outcome(page, (5.0, 4.9, 5.1), (4.0, 3.9, 4.1)), outcome(page, (3.0, 2.9, 3.1), (4.0, 3.9, 4.1))
    again = page.outcome_of(json.loads(json.dumps(asdict(lost))))
    assert again == lost
    text = page.page([won, again])
    assert "On 1 of 2 networks" in text
    assert text.count("\n## A network") == 2
    assert text.count("**PASS:") == text.count("**FAIL:") == 1
    assert "Olive: no" in text
    assert "Not run" not in text
    assert "Not run: A large one." in page.page([won], ["A large one"])
    table = [line for line in page.lines(replace(won)) if line.startswith("| ")][1:]
    assert [line.split("|")[1].strip() for line in table] == ["**ours**", "best", "slow", "eager"]


def test_networks_have_the_standard_number_of_weights(parts):
    """Those of torchvision's resnet50 and densenet121 with one output in place of a thousand."""
    import torch

    models, _, _ = parts
    published = {
        "resnet50": 25_557_032 - 2048 * 1000 - 1000 + 2049,
        "densenet121": 7_978_856 - 1024 * 1000 - 1000 + 1025,
    }
    for name, expected in published.items():
        with torch.device("meta"):
            assert sum(p.numel() for p in models.NETWORKS[name].make().parameters()) == expected


def test_labels_are_the_network_s_own_decisions(parts, tmp_path):
    from safetensors.torch import load_file

    models, _, _ = parts
    weights, data, calibration, timed = (tmp_path / f for f in ("w.safetensors", "d.npz", "c.npy", "t.npy"))
    models.prepare("mlp", weights, data, calibration, timed, cases=200, few=8)
    module = models.NETWORKS["mlp"].make()
    module.load_state_dict(load_file(weights))
    with np.load(data) as archive:
        inputs, labels = archive["inputs"], archive["labels"]
    assert np.array_equal(models._run(module, inputs)[:, 0] >= 0, labels == 1)
    assert 0.3 < labels.mean() < 0.7
    ranges, clocked = np.load(calibration), np.load(timed)
    assert ranges.shape == clocked.shape == (8, 30)
    assert not np.isin(ranges, inputs).any() and not np.isin(clocked, ranges).any()


def test_batch_norms_are_settled(parts):
    """Standardized outputs of the first norm on the data that settled it."""
    import torch

    models, _, _ = parts
    torch.manual_seed(0)
    block = models.Bottleneck(8, 4, 2)
    network = torch.nn.Module()
    network.block, network.head = block, torch.nn.Linear(16, 1)
    network.features = lambda x: block(x).mean((2, 3))
    inputs = np.random.default_rng(0).normal(3.0, 2.0, (models._FITTED, 8, 6, 6)).astype(np.float32)
    inputs[1::2, :, :, :3] += 2.0
    models._settle(network, inputs)
    with torch.no_grad():
        seen = block.bn1(block.conv1(torch.from_numpy(inputs[: models._FITTED // 2])))
        logits = network.head(network.features(torch.from_numpy(inputs)))[:, 0].numpy()
    assert abs(float(seen.mean())) < 0.05
    assert abs(float(seen.std()) - 1) < 0.05
    assert np.mean((logits > 0) == (np.arange(len(logits)) % 2 == 1)) > 0.9


def test_an_olive_that_cannot_be_had_is_a_reason(parts, tmp_path):
    _, olive, _ = parts
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = olive.olive_environment(blocked / "env")
    assert found.python is None and "could not be installed" in found.why
    assert found.quantize(tmp_path, tmp_path, tmp_path, False) == {"": {"why": found.why}}
    wrong = olive.Olive(Path(sys.executable))
    (tmp_path / "out").mkdir()
    why = wrong.quantize(tmp_path / "no.onnx", tmp_path / "no.npy", tmp_path / "out", False)
    assert all("why" in result for result in why.values())


@pytest.mark.slow
def test_a_quick_run_compares_all(tmp_path):
    out = tmp_path / "page.md"
    command = [sys.executable, str(BENCHMARKS / "peers.py"), "--quick", "--only", "mlp", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    for name in ("PyTorch eager", "torch.compile", "ONNX Runtime INT8", "OpenVINO INT8", "primum: onnxruntime[fp32]"):
        assert name in done.stdout
    assert "Olive INT8: not run: left out by --quick" in done.stdout
    assert "too small to gain" in out.read_text()
    figures = json.loads(out.with_suffix(".json").read_text())["mlp"]
    rows = {r["name"]: r for r in figures["rows"]}
    assert rows["PyTorch eager"]["ratio"] == 1.0
    # Quantization hurts here, which is why it was left out.
    assert rows["ONNX Runtime INT8"]["ratio"] < rows["ONNX Runtime"]["ratio"]
