"""The facts of the machine that decide what is fast on it, and that make a measurement comparable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_LIBRARIES = ("torch", "onnxruntime", "openvino", "nncf", "onnx", "numpy")
_FLAGS = {
    "avx512_vnni": "vnni",
    "avx_vnni": "vnni",
    "avx512_bf16": "bf16",
    "amx_int8": "amx",
    "amx_bf16": "amx",
    "avx512f": "avx512",
    "avx2": "avx2",
    "asimddp": "vnni",
    "bf16": "bf16",
}


@dataclass(frozen=True)
class Machine:
    """CPU, features (subset of avx2, avx512, vnni, bf16, amx), cores that this process may use, memory, versions."""

    cpu: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    system: str
    python: str
    libraries: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Short hash of what changes a measurement: CPU, features, cores and library versions."""
        text = f"{self.cpu}|{self.architecture}|{self.features}|{self.cores}|{sorted(self.libraries.items())}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def this_machine() -> Machine:
    """Read the machine that runs this."""
    name, flags = _cpu()
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=name,
        architecture=platform.machine(),
        features=tuple(sorted({_FLAGS[f] for f in flags if f in _FLAGS})),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=pages * page,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        libraries={name: version for name in _LIBRARIES if (version := installed(name))},
    )


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, None where absent. Imports nothing."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> tuple[str, set[str]]:
    name, flags = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    return name, flags
