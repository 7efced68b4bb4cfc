"""primum serve against a bare endpoint, LitServe, BentoML, MLServer and Ray Serve: `make bench-serving`.

Writes a JSON file with everything measured, and a page of tables beside it. Only a full run (no --quick, --only or
--models) writes docs/serving-bench.md and docs/serving-bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

# From 1.29 ONNX Runtime reports what it runs, on Linux too, unless it is told not to before it loads.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from contestants import AGAIN, CONTESTANTS, FLOOR, Contestant
from environments import Environment, default_cache, environment, own_environment
from generator import build
from page import page, section
from processes import StartError
from scenarios import FULL, QUICK, Disagreement, Length, Record, run
from summary import Summary
from workloads import NAMES, Workload, make

from primum.hardware.machine import this_machine
from primum.version import VERSION

ROOT = Path(__file__).parents[2]
_ROUNDS = 3
_QUICK_MODELS, _MODELS = ("risk-json", "xray-binary"), ("risk-json", "risk-binary", "xray-binary")


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write. Ends with 1 where nobody could be measured."""
    asked = _parse(arguments)
    names = _contestants(asked.only)
    models = tuple(asked.models or (_QUICK_MODELS if asked.quick else _MODELS))
    rounds, length = asked.rounds or (1 if asked.quick else _ROUNDS), QUICK if asked.quick else FULL
    environments, skipped = _environments(names, asked.cache)
    records: list[Record] = []
    setting = _setting(asked, rounds, length, environments)
    with tempfile.TemporaryDirectory(prefix="primum-bench-") as name:
        scratch = Path(name)
        binary, workloads = build(scratch), make(models, scratch / "models")
        rng = random.Random(asked.seed)
        for number in range(1, rounds + 1):
            turns = [(workload, n) for workload in workloads for n in environments]
            rng.shuffle(turns)
            for workload, contestant in turns:
                print(f"round {number} of {rounds}: {workload.name}, {contestant}", flush=True)
                known = environments[contestant]
                records.append(_one(CONTESTANTS[contestant], known, workload, binary, length, number))
                _write(records, models, skipped, setting, asked.out)
    for model in models:
        print("\n".join(["", *section(Summary(model, records))]), flush=True)
    print(f"\n{asked.out} and {asked.out.with_suffix('.md')}")
    return int(all(record.failed for record in records))


def _one(
    contestant: Contestant, known: Environment, workload: Workload, binary: Path, length: Length, number: int
) -> Record:
    try:
        return run(contestant, known, workload, binary, length, number)
    except (StartError, Disagreement, OSError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        print(f"  not measured: {why}", flush=True)
        return Record(number, workload.name, contestant.name, why)


def _contestants(only: list[str] | None) -> list[str]:
    """Those asked for; with the floor comes its second run."""
    names = list(only or CONTESTANTS)
    if FLOOR in names and AGAIN not in names:
        names.append(AGAIN)
    return [name for name in CONTESTANTS if name in names]


def _environments(names: list[str], cache: Path) -> tuple[dict[str, Environment], list[str]]:
    """By contestant; and those that have none, with the reason."""
    found, skipped, made = {}, [], dict[str | None, Environment]()
    for name in names:
        contestant = CONTESTANTS[name]
        place = contestant.environment
        if place not in made:
            libraries = contestant.libraries
            made[place] = own_environment(libraries) if place is None else environment(place, libraries, cache)
        if made[place].python is None:
            skipped.append(f"{name}: {made[place].why}")
            print(skipped[-1], flush=True)
        else:
            found[name] = made[place]
    return found, skipped


def _setting(asked: argparse.Namespace, rounds: int, length: Length, known: dict[str, Environment]) -> list[str]:
    machine = this_machine()
    versions = dict.fromkeys(
        f"{CONTESTANTS[n].environment or 'primum ' + VERSION}: {e.versions}" for n, e in known.items()
    )
    return [
        f"{machine.cpu}, {machine.cores} cores, {', '.join(machine.features)}.",
        f"{rounds} rounds, seed {asked.seed}; {length}; load average {os.getloadavg()[0]:.1f} before.",
        *(f"{line}." for line in versions),
    ]


def _write(records: list[Record], models: tuple[str, ...], skipped: list[str], setting: list[str], out: Path) -> None:
    """After every record: a run that is cut short keeps what it has."""
    out.parent.mkdir(parents=True, exist_ok=True)
    data = {"setting": setting, "skipped": skipped, "records": [asdict(record) for record in records]}
    out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    summaries = [Summary(model, records) for model in models]
    out.with_suffix(".md").write_text(page(summaries, skipped, setting), encoding="utf-8")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_listed(CONTESTANTS), help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--models", type=_listed(NAMES), help=f"of {', '.join(NAMES)}; default {', '.join(_MODELS)}")
    parser.add_argument("--rounds", type=int, help=f"rounds ({_ROUNDS}; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="short runs, two models, one round: that it works at all")
    parser.add_argument("--seed", type=int, default=1, help="of the order within rounds")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the peers' environments are")
    parser.add_argument("--out", type=Path, help="JSON file; the page is written beside it")
    asked = parser.parse_args(arguments)
    if asked.out is None:
        whole = not (asked.quick or asked.only or asked.models)
        asked.out = (ROOT / "docs" if whole else Path.cwd()) / "serving-bench.json"
    return asked


def _listed(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r}: none of {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
