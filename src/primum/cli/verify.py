"""primum verify."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primum.cli import options as o

if TYPE_CHECKING:
    from primum.artifact.golden import Replay
    from primum.artifact.predictor import Proven

NAME = "verify"
DIFFERS = 1
NOT_COVERED = "the manifest itself is not covered: give --expect DIGEST or --public-key"


def run(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder, or the audit log of a server.")],
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

    Of an audit log: check that each record follows from the one before, and print how many there are and the hash of
    the last; keep that elsewhere, since who can write the log can write it anew.

    Exit status: 0 intact and equal; 1 answers differ here; 2 changed, incomplete or neither.
    """
    if artifact.is_file():
        of_artifacts = {"--factory": factory, "--expect": expect, "--public-key": public_key, "--signature": signature}
        _audit_log(artifact, [name for name, value in of_artifacts.items() if value is not None], json)
        return
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
        told = [UNPROVEN] if unproven else []
        told.append(f"{files} files match their SHA-256")
        told.append(f"signature: {signed}" + (": give --public-key" if signed == "not checked" else ""))
        _say([*told, *([] if covered else [f"note: {NOT_COVERED}"])], proven, outcome)
    raise typer.Exit(0 if outcome.passed else DIFFERS)


def _say(told: Sequence[str], proven: Proven, outcome: Replay) -> None:
    """What is known of an artifact's files, then how it answers here."""
    for line in told:
        typer.echo(line)
    typer.echo(f"runs as {proven.precision} on {proven.provider}, {proven.threads} thread(s)")
    verdict = "match" if outcome.passed else "DIFFER from"
    typer.echo(
        f"answers on {outcome.cases} golden vectors {verdict} the recorded ones "
        f"(largest |Δp| {outcome.max_difference:.2g}, allowed {outcome.tolerance:g}; "
        f"raw outputs {outcome.raw_difference:.2g} of {outcome.raw_tolerance:g})"
    )


def _audit_log(path: Path, given: list[str], json: bool) -> None:
    from dataclasses import asdict

    from primum.cli.console import print_json
    from primum.errors import InputError
    from primum.serving.security.audit import verify_audit

    if given:
        raise InputError(f"{path} is no artifact folder, and of an audit log {', '.join(given)} is not checked")
    state = verify_audit(path)
    if json:
        print_json(asdict(state))
        return
    typer.echo(f"{state.records} records, each follows from the one before")
    typer.echo(f"hash of the last: {state.end or 'none'}")
