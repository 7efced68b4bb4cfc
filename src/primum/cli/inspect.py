"""primum inspect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primum.cli import options as o

if TYPE_CHECKING:
    from primum.artifact.manifest import Guard

NAME = "inspect"


def run(path: Annotated[Path, typer.Argument(help="Artifact folder.")], json: o.Json = False) -> None:
    """Show what an artifact is, without loading its model."""
    from primum.artifact.manifest import artifact_digest, read_manifest
    from primum.cli.console import print_json
    from primum.files import size_of
    from primum.task import Task

    manifest = read_manifest(path)
    if json:
        print_json(manifest.model_dump(mode="json"))
        return
    signature = manifest.signature
    rows = {
        "recipe": manifest.recipe,
        "verdict": manifest.verdict + (" (UNPROVEN)" if manifest.unproven else ""),
        "precision": f"asked {manifest.target['precision']}, proven {manifest.precision_proven}",
        "runtime": f"{manifest.target['runtime']} {manifest.runtime_version} on {manifest.provider}",
        "input": f"float32 (N, {', '.join(map(str, signature.input_shape))})",
        "task": signature.task.value,
        "classes": ", ".join(signature.classes),
        "size": f"{size_of(path / 'model') / 1e6:.2f} MB in model/, {size_of(path) / 1e6:.2f} MB in all",
        "parent": manifest.parent_hash,
        "made": f"{manifest.created} by primum {manifest.primum_version}",
        "digest": artifact_digest(path),
        "files": f"{len(manifest.files)}, all match their SHA-256",
    }
    if signature.task is Task.BINARY:
        rows["classes"] += f"; positive: {signature.classes[signature.positive]}"
        rows["threshold"] = f"{manifest.threshold:g} on P(positive)"
    if manifest.guard is not None:
        rows["guard"] = _guard(manifest.guard)
    for name, value in rows.items():
        typer.echo(f"{name:<10} {value}")
    for note in manifest.notes:
        typer.echo(f"{'note':<10} {note}")


def _guard(guard: Guard) -> str:
    sure = "on average" if guard.delta is None else f"with confidence {1 - guard.delta:g}"
    classes = ", by class" if guard.by_class else ""
    kind = ", strict" if guard.strict else ""
    return (
        f"within {guard.band:.4g} of the boundary the original answers ({guard.reference['runtime']}); epsilon "
        f"{guard.epsilon:.4g} {sure}{classes}{kind}, set on {guard.patients} patients; {guard.deferred:.1%} deferred"
    )
