"""What primum chooses against what a user would pick instead, on four networks: `make bench`.

Ends with 1 where the chosen artifact is slower than the best peer. Writes docs/bench.md and the figures behind it
(docs/bench.json); with --only, the other networks' figures stay as they were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# From 1.29 ONNX Runtime reports what it runs, on Linux too, unless it is told not to before it loads.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from peer_models import NETWORKS, SEED, Network
from peer_olive import Olive, default_place, olive_environment
from peer_page import Outcome, Row, lines, outcome_of, page
from peer_sessions import PeerProcess

import primum
from primum.benchmark.statistics import bootstrap_ratio
from primum.benchmark.timing import Timings, interleave, summarize
from primum.config import ClinicalPolicy, Margins, OptimizationConfig
from primum.errors import TrialError
from primum.files import size_of
from primum.hardware.machine import this_machine
from primum.progress import Silent
from primum.runtimes.isolated import Isolated
from primum.version import VERSION
from primum.workflows.delivery import Delivery

ROOT = Path(__file__).parents[1]
WIDE = Margins(sensitivity=0.2, specificity=0.2, auroc=0.15, brier=0.15)
"""The question is which artifact is fastest; a margin that a few dozen cases can decide keeps power out of it."""
EAGER = "PyTorch eager"
FEW = 64
"""Cases that set ranges, and as many others that are timed."""
_FILES = {
    "weights": "weights.safetensors",
    "data": "data.npz",
    "calibration": "calibration.npy",
    "timed": "timed.npy",
    "export": "export.onnx",
}
_ROUNDS, _QUICK_ROUNDS = 90, 6


@dataclass(frozen=True)
class Files:
    """One network's files."""

    network: Network
    place: Path

    def __getitem__(self, name: str) -> Path:
        """One of _FILES."""
        return self.place / _FILES[name]

    def example(self) -> np.ndarray:
        """One case."""
        return np.load(self["timed"], mmap_mode="r")[:1].copy()


@dataclass(frozen=True)
class Entry:
    """A contestant ready to be timed."""

    process: Isolated
    facts: dict[str, Any]
    runs_in: str
    size: int


class Talking(Silent):
    """Prints what the study says."""

    def stage(self, name: str, total: int | None = None) -> None:
        """One line."""
        print(f"  {name}", flush=True)

    def say(self, text: str) -> None:
        """One line."""
        print(f"    {text}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write the page."""
    asked = _parse(arguments)
    rounds = asked.rounds or (_QUICK_ROUNDS if asked.quick else _ROUNDS)
    olive = Olive(None, "left out by --quick; name its environment with --olive-env")
    if asked.olive_env or not asked.quick:
        olive = olive_environment(asked.olive_env or default_place())
    # Openings of made-up cases belong in no user's ledger.
    with tempfile.TemporaryDirectory(prefix="primum-bench-") as scratch:
        os.environ["PRIMUM_STATE"] = str(Path(scratch) / "state")
        done = []
        for name in asked.only or list(NETWORKS):
            print(f"\n{NETWORKS[name].title}", flush=True)
            done.append(compare(NETWORKS[name], Path(scratch) / name, olive, rounds, asked.quick))
            print("\n".join(["", *lines(done[-1])]), flush=True)
            _write(done, asked.out)
    return int(not all(o.passed for o in done))


def compare(network: Network, place: Path, olive: Olive, rounds: int, quick: bool) -> Outcome:
    """Build everybody, time everybody together."""
    place.mkdir()
    files, cases = Files(network, place), network.few if quick else network.cases
    skipped: list[str] = []
    _in_child(
        "peer_models:prepare",
        name=network.name,
        cases=cases,
        few=FEW,
        **{key: files[key] for key in ("weights", "data", "calibration", "timed")},
    )
    delivery = _optimized(files)
    with contextlib.ExitStack() as stack:
        entries = {
            name: entry
            for name, (kind, file) in _peers(files, olive, skipped).items()
            if (entry := _start(name, kind, file, files, stack, skipped)) is not None
        }
        chosen = f"primum: {delivery.result.winner.recipe}"
        entries[chosen] = _deliver(files, delivery, stack)
        before = os.getloadavg()[0]
        sessions = {name: entry.process for name, entry in entries.items()}
        taken = interleave(sessions, files["timed"], np.arange(FEW), rounds, SEED)
        raw = {name: entry.process.predict(files["timed"], np.arange(FEW)) for name, entry in entries.items()}
        eager = entries[EAGER].process
        timings = {
            name: summarize(taken[name], taken[EAGER], entry.facts, entry.process, eager)
            for name, entry in entries.items()
        }
    rows = [
        _row(name, entry, timings[name], float(np.mean((raw[name] >= 0) == (raw[EAGER] >= 0))), name == chosen)
        for name, entry in entries.items()
    ]
    best = max((r for r in rows if not r.chosen), key=lambda r: r.ratio)
    machine = this_machine()
    return Outcome(
        network=network.name,
        title=network.title,
        rows=tuple(rows),
        against=bootstrap_ratio(taken[best.name], taken[chosen]),
        skipped=tuple(skipped),
        tried=tuple(_tried(delivery)),
        machine=f"{machine.cpu}, {machine.cores} cores, {', '.join(machine.features)}",
        versions=_versions(machine.libraries, olive),
        setting=f"{'--quick, ' if quick else ''}{rounds} rounds of {taken[chosen].shape[1]} calls, {cases} cases "
        f"judged; load average {before:.1f} before and {os.getloadavg()[0]:.1f} after",
    )


def _row(name: str, entry: Entry, timings: Timings, same: float, chosen: bool) -> Row:
    return Row(
        name=name,
        runs_in=entry.runs_in,
        p50=timings.p50,
        ratio=timings.ratio,
        lower=timings.ratio_lower,
        upper=timings.ratio_upper,
        same=same,
        megabytes=entry.size / 1e6,
        contended=timings.contended,
        chosen=chosen,
    )


def _in_child(function: str, **arguments: Any) -> None:
    with Isolated() as process:
        process.call(function, **arguments)


def _optimized(files: Files) -> Delivery:
    """What any user would call, at the default level."""
    return primum.optimize(
        files.network.factory,
        files["data"],
        files.place / "primum",
        checkpoint=files["weights"],
        config=OptimizationConfig(policy=ClinicalPolicy(margins=WIDE)),
        independent=True,
        progress=Talking(),
    )


def _deliver(files: Files, delivery: Delivery, stack: contextlib.ExitStack) -> Entry:
    process = stack.enter_context(Isolated())
    needs = (delivery.artifact / "model" / "weights.safetensors").is_file()
    facts = process.open(delivery.artifact, files.example(), files.network.make if needs else None)
    return Entry(process, facts, facts["proven"].precision, size_of(delivery.artifact / "model"))


def _peers(files: Files, olive: Olive, skipped: list[str]) -> dict[str, tuple[str, Path]]:
    """Name to how it is loaded and from what; a peer that cannot be built goes to `skipped` with its reason."""
    _in_child(
        "peer_sessions:export",
        weights=files["weights"],
        factory=files.network.factory,
        example=files.example(),
        out=files["export"],
    )
    peers = {EAGER: ("eager", files["weights"]), "torch.compile": ("compile", files["weights"])}
    peers["ONNX Runtime"] = ("onnxruntime", files["export"])
    given = {"source": files["export"], "calibration": files["calibration"]}
    built = (
        ("ONNX Runtime INT8", "onnxruntime", "quantize_onnxruntime", "ort-int8.onnx", given),
        ("OpenVINO", "openvino", "convert_openvino", "ov.xml", {"source": files["export"]}),
        ("OpenVINO INT8", "openvino", "quantize_openvino", "ov-int8.xml", given),
    )
    for name, kind, function, file, arguments in built:
        try:
            _in_child(f"peer_sessions:{function}", **arguments, out=files.place / file)
            peers[name] = (kind, files.place / file)
        except TrialError as error:
            skipped.append(f"{name}: not built: {error}")
    (files.place / "olive").mkdir()
    made = olive.quantize(files["export"], files["calibration"], files.place / "olive", files.network.transformer)
    for name, found in made.items():
        called = f"Olive INT8 {name}".strip()
        if "file" in found:
            peers[called] = ("onnxruntime", Path(found["file"]))
        else:
            skipped.append(f"{called}: not run: {found['why']}")
    return peers


def _start(
    name: str, kind: str, file: Path, files: Files, stack: contextlib.ExitStack, skipped: list[str]
) -> Entry | None:
    process = stack.enter_context(PeerProcess())
    try:
        facts = process.start(kind, file, files.network.factory, files.example())
    except TrialError as error:
        if name == EAGER:
            raise
        skipped.append(f"{name}: does not run: {error}")
        return None
    size = sum(f.stat().st_size for f in {file, file.with_suffix(".bin")} if f.is_file())
    return Entry(process, facts, facts["runs_in"], size)


def _tried(delivery: Delivery) -> list[str]:
    found = []
    for trial in delivery.result.trials:
        if trial.ok and trial.timings is not None:
            t = trial.timings
            busy = ", busy" if t.contended else ""
            found.append(
                f"{trial.recipe}: {t.ratio:.2f}x, ranked by {trial.speed:.2f}x, p50 {t.p50:.3g} ms{busy}, "
                f"{trial.outcome.value}"
            )
        else:
            found.append(f"{trial.recipe}: {trial.status.value}: {trial.reason}")
    reasons: dict[str, list[str]] = {}
    for item in delivery.result.left_out:
        reasons.setdefault(item.why, []).append(item.what)
    return found + [f"left out: {', '.join(what)}: {why}" for why, what in reasons.items()]


def _versions(libraries: dict[str, str], olive: Olive) -> str:
    known = {"primum": VERSION, **libraries} | ({"olive-ai": olive.version} if olive.version else {})
    return ", ".join(f"{name} {version}" for name, version in known.items())


def _write(done: list[Outcome], out: Path) -> None:
    """The page, with what earlier runs found of networks that this one left out."""
    store = out.with_suffix(".json")
    known = json.loads(store.read_text()) if store.is_file() else {}
    known |= {o.network: asdict(o) for o in done}
    store.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    missing = [network.title for name, network in NETWORKS.items() if name not in known]
    out.write_text(page([outcome_of(known[name]) for name in NETWORKS if name in known], missing), encoding="utf-8")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help=f"timed rounds ({_ROUNDS}; {_QUICK_ROUNDS} with --quick)")
    parser.add_argument("--only", choices=list(NETWORKS), action="append", help="only this network")
    parser.add_argument("--quick", action="store_true", help="few cases and rounds; Olive only where --olive-env is")
    parser.add_argument("--olive-env", type=Path, help="a virtual environment for Olive, made where it is missing")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
