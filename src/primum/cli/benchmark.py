"""primum benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primum.cli import options as o

NAME = "benchmark"


def run(
    artifacts: Annotated[list[Path], typer.Argument(help="Artifact folders.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="The original, timed beside them.")] = None,
    checkpoint: o.Checkpoint = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="Inputs; default: golden vectors.")] = None,
    label_column: o.LabelColumn = "label",
    path_column: o.PathColumn = "path",
    image_root: o.ImageRoot = None,
    cases: Annotated[int, typer.Option(min=1, help="Different inputs used.")] = 64,
    rounds: Annotated[int, typer.Option(min=3, help="Interleaved rounds.")] = 30,
    json: o.Json = False,
) -> None:
    """Time artifacts (and their original) at batch 1 on this machine, interleaved, each in a fresh process."""
    from dataclasses import asdict

    from primum.artifact.manifest import UNPROVEN
    from primum.cli.console import Terminal, print_json, print_table
    from primum.data.readers import DataOptions
    from primum.hardware.machine import this_machine
    from primum.models.reference import parse_model
    from primum.workflows.compare import compare

    with Terminal() as terminal:
        found = compare(
            artifacts,
            parse_model(model, checkpoint) if model else None,
            data,
            DataOptions(label_column, path_column, image_root=image_root),
            cases,
            rounds,
            terminal,
        )
    if json:
        print_json({"machine": asdict(this_machine()), "contestants": [asdict(c) for c in found]})
        return
    rows = []
    for c in found:
        t = c.timings
        tail = f"{t.p99:.3f}" if t.p99 == t.p99 else "n too small"
        speed, lower, upper = c.speedup
        spread = f"{speed:.2f}x ({lower:.2f} to {upper:.2f})" + (", of means" if c.guarded else "")
        rows.append(
            [
                c.name if c.name.startswith("original") else "/".join(Path(c.name).parts[-2:]),
                c.proven.precision,
                spread,
                f"{t.p50:.3f}",
                f"{t.p95:.3f}",
                tail,
                f"{t.load_ms:.0f}",
                f"{t.first_ms:.1f}",
                f"{c.size_bytes / 1e6:.2f}",
            ]
        )
    columns = [
        "contestant",
        "precision",
        "speed-up",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "load ms",
        "first ms",
        "MB",
    ]
    print_table("", columns, rows)
    for c in found:
        if c.unproven:
            typer.echo(f"{c.name}: {UNPROVEN}")
