"""A small artifact, and the real server on a real socket."""

import http.client
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from primum.artifact.manifest import Guard, Manifest, write_manifest
from primum.data.preprocessing import Preprocessing
from primum.data.preprocessing_any import AnyPreprocessing
from primum.models.signature import Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx

FEATURES = 32


def risk_model() -> nn.Module:
    """(N, 32) to one logit."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 1)).eval()


def coarse_model() -> nn.Module:
    """The risk model with its weights rounded: it decides some cases otherwise."""
    module = risk_model()
    for weight in module.parameters():
        weight.data = torch.round(weight.data * 8) / 8
    return module


def build_artifact(
    folder: Path,
    module: nn.Module | None = None,
    shape: tuple[int, ...] = (FEATURES,),
    *,
    reference: nn.Module | None = None,
    band: float = 0.05,
    parent_hash: str = "",
    preprocessing: AnyPreprocessing | None = None,
    signature: Signature | None = None,
    **changes: object,
) -> Path:
    """An ONNX Runtime FP32 artifact; guarded by `reference`, where there is one, within `band`."""
    signature = signature or Signature(input_shape=shape, outputs=1, classes=("low", "high"))
    target = Target(runtime="onnxruntime", threads=1)
    given = {"model": module or risk_model()} | ({} if reference is None else {"reference": reference})
    for part, network in given.items():
        (folder / part).mkdir(parents=True)
        source = folder.parent / f"{folder.name}-{part}.onnx"
        export_onnx(network, shape, source)
        get_runtime("onnxruntime").build(
            BuildSource(signature, network, source, torch.zeros(4, *shape).numpy()), target, folder / part
        )
    guard = None
    if reference is not None:
        guard = Guard(
            band=band,
            epsilon=0.005,
            delta=None,
            by_class=False,
            strict=False,
            patients=1000,
            deferred=0.1,
            reference=target.model_dump(mode="json"),
        )
    manifest = Manifest(
        primum_version="0",
        created="now",
        signature=signature,
        threshold=0.5,
        target=target.model_dump(mode="json"),
        runtime_version="",
        precision_proven="fp32",
        provider="CPU",
        recipe=str(target),
        parent_hash=parent_hash,
        preprocessing=preprocessing or Preprocessing(),
        guard=guard,
        **changes,
    )
    write_manifest(folder, manifest)
    return folder


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def server(*arguments: object, tls: Path | None = None, give_process: bool = False):
    """`primum serve` in a process of its own; yields its port (and the process)."""
    port = free_port()
    command = [sys.executable, "-m", "primum.cli.main", "serve", *map(str, arguments), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            _await_open(process, port)
            if tls is None:
                assert call(port, "GET", "/v2/health/ready")[0] == 200
            yield (port, process) if give_process else port
        finally:
            process.terminate()
            process.wait(30)


def _await_open(process, port):
    """The socket opens once every model is loaded and measured."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(process.stdout.read())
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not open its socket")


def call(port, method, path, body=None, headers=None):
    """(status, headers, JSON or bytes) of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        if isinstance(body, dict):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        kind = answer.headers.get("content-type", "")
        return answer.status, answer.headers, json.loads(content) if kind == "application/json" else content
    finally:
        connection.close()
