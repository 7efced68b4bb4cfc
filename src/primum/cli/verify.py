"""primum verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primum.cli import options as o

NAME = "verify"
DIFFERS = 1
NOT_COVERED = "the manifest itself is not covered: give --expect DIGEST or --public-key"


def run(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder.")],
    factory: Annotated[str | None, typer.Option(help="module:callable, for artifacts that hold weights only.")] = None,
    expect: Annotated[str | None, typer.Option(help="Digest that optimize printed, kept elsewhere.")] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file: check that its holder signed exactly this artifact.")
    ] = None,
    signature: Annotated[Path | None, typer.Option(help="Signature file, where it is not ARTIFACT.sig.")] = None,
    json: o.Json = False,
) -> None:
    """Check every file's SHA-256 against the manifest and replay the golden vectors on this machine.

    With --public-key, check the signature first (made by primum.sign, or `model_signing sign key`). No file holds the
    manifest's own hash: only --expect and --public-key show that nobody changed what it says.

    Exit status: 0 intact and equal; 1 answers differ here; 2 changed, incomplete or not an artifact.
    """
    from dataclasses import asdict

    from primum.artifact.golden import replay
    from primum.artifact.manifest import UNPROVEN, artifact_digest
    from primum.artifact.signing import signature_path, verify_signature
    from primum.cli.console import print_json
    from primum.errors import InputError, IntegrityError
    from primum.models.reference import find_factory
    from primum.runtimes.load import open_predictor

    if expect is not None and artifact_digest(artifact) != expect:
        raise IntegrityError(f"{artifact}: is not the artifact expected (its digest is {artifact_digest(artifact)})")
    if public_key is not None:
        verify_signature(artifact, public_key, signature)
    elif signature is not None:
        raise InputError("--signature is checked with --public-key; give that too")
    signed = "valid" if public_key else "not checked" if signature_path(artifact).is_file() else "none"
    with open_predictor(artifact, find_factory(factory) if factory else None) as predictor:
        outcome, unproven = replay(artifact, predictor), predictor.unproven
        files, proven = len(predictor.manifest.files), predictor.session.proven
    covered = expect is not None or public_key is not None
    if json:
        facts = {
            "files": files,
            "unproven": unproven,
            "digest": artifact_digest(artifact),
            "signature": signed,
            "manifest_covered": covered,
            "notes": [] if covered else [NOT_COVERED],
        }
        print_json({**facts, **asdict(outcome), "proven": asdict(proven)})
    else:
        if unproven:
            typer.echo(UNPROVEN)
        typer.echo(f"{files} files match their SHA-256")
        typer.echo(f"signature: {signed}" + (": give --public-key" if signed == "not checked" else ""))
        if not covered:
            typer.echo(f"note: {NOT_COVERED}")
        typer.echo(f"runs as {proven.precision} on {proven.provider}, {proven.threads} thread(s)")
        verdict = "match" if outcome.passed else "DIFFER from"
        typer.echo(
            f"answers on {outcome.cases} golden vectors {verdict} the recorded ones "
            f"(largest |Δp| {outcome.max_difference:.2g}, allowed {outcome.tolerance:g}; "
            f"raw outputs {outcome.raw_difference:.2g} of {outcome.raw_tolerance:g})"
        )
    raise typer.Exit(0 if outcome.passed else DIFFERS)
