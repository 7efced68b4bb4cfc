"""primum doctor."""

from __future__ import annotations

import typer

from primum.cli import options as o

NAME = "doctor"
_EXTRAS = (
    ("onnxruntime", "", "runs ONNX artifacts", "nothing can be predicted"),
    (
        "torch",
        "optimize",
        "loads torch models, eager and compiled candidates",
        "only .onnx models can be read",
    ),
    ("onnx", "optimize", "exports and quantizes graphs", "no artifact can be made"),
    ("onnxscript", "optimize", "exports torch models to ONNX", "torch models reach no other runtime"),
    ("safetensors", "optimize", "reads and writes weights safely", ".safetensors cannot be read"),
    ("cloudpickle", "optimize", "runs candidates in processes of their own", "no study can run"),
    ("jinja2", "optimize", "writes the report", "no report"),
    ("matplotlib", "optimize", "draws the figures", "no figures"),
    ("optuna", "search", "explores recipes after the search", "--explore cannot be given"),
    ("model-signing", "signing", "signs artifacts", "artifacts cannot be signed"),
    ("cyclonedx-python-lib", "evidence", "checks the ML-BOM against its schema", "the ML-BOM is written unchecked"),
    ("pydicom", "medical", "reads DICOM images", "DICOM files are refused"),
    ("openvino", "cpu", "fastest runtime for most CPU models", "the fastest CPU candidates are missed"),
    ("nncf", "cpu", "calibrates INT8 for OpenVINO", "the fastest CPU candidates are missed"),
)


def run(json: o.Json = False) -> None:
    """Show this machine, what is installed, and what is missed without the rest. Opens no network connection."""
    from dataclasses import asdict

    from primum.cli.console import print_json, print_table
    from primum.hardware.machine import installed, this_machine
    from primum.runtimes.base import NAMES, get_runtime

    machine = this_machine()
    found = [(name, extra, what, missed, installed(name)) for name, extra, what, missed in _EXTRAS]
    runtimes = {name: get_runtime(name).missing() for name in NAMES}
    if json:
        keys = ("library", "extra", "purpose", "missed_without", "version")
        print_json(
            {
                "machine": asdict(machine),
                "libraries": [dict(zip(keys, row)) for row in found],
                "runtimes": runtimes,
            }
        )
        return
    typer.echo(f"{machine.cpu}, {machine.cores} core(s), {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}")
    typer.echo(f"CPU features that matter: {', '.join(machine.features) or 'none'}")
    typer.echo("")
    rows = [
        [
            name,
            version or f"missing: pip install 'primum[{extra}]'",
            what if version else f"without it {missed}",
        ]
        for name, extra, what, missed, version in found
    ]
    print_table("", ["library", "version", "what it does"], rows)
    typer.echo("")
    for name, why in runtimes.items():
        typer.echo(f"runtime {name:<12} {'ready' if why is None else why}")
