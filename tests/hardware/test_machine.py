import importlib.metadata
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from primum.hardware import machine
from primum.hardware.machine import installed, this_machine


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    def write(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "cpuinfo")

    return write


def test_the_facts_of_this_machine_agree_with_other_sources():
    got = this_machine()
    assert got.cores == len(os.sched_getaffinity(0)) and got.architecture == os.uname().machine
    total = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal"))
    assert abs(got.memory_bytes - int(total.split()[1]) * 1024) < 2**20
    assert got.libraries["numpy"] == importlib.metadata.version("numpy")
    assert set(got.features) <= {"avx2", "avx512", "vnni", "bf16", "amx"}
    assert got.python == sys.version.split()[0] and got.cpu


def test_cores_are_those_that_this_process_may_use():
    mine = sorted(os.sched_getaffinity(0))
    code = "from primum.hardware.machine import this_machine; print(this_machine().cores)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {mine[0]}),
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("flags", "features"),
    [
        ("fpu avx2 avx512f avx512_vnni amx_int8 amx_bf16", ("amx", "avx2", "avx512", "vnni")),
        ("fpu avx2 avx_vnni avx512_bf16", ("avx2", "bf16", "vnni")),
        ("fpu sse2", ()),
    ],
)
def test_features_are_read_from_the_flags(cpuinfo, flags, features):
    cpuinfo(f"model name\t: Some CPU @ 2.00GHz\nflags\t\t: {flags}\n\nflags\t\t: other\n")
    got = this_machine()
    assert got.cpu == "Some CPU @ 2.00GHz" and got.features == features


def test_an_arm_machine_names_its_features_otherwise(cpuinfo):
    cpuinfo("processor\t: 0\nFeatures\t: fp asimd asimddp bf16\n")
    assert this_machine().features == ("bf16", "vnni")


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "other"},
        {"architecture": "x"},
        {"features": ("vnni", "x")},
        {"cores": 99},
        {"libraries": {"torch": "0"}},
    ],
)
def test_the_fingerprint_follows_what_changes_a_measurement(change):
    here = this_machine()
    assert replace(here, **change).fingerprint != here.fingerprint == this_machine().fingerprint
    assert len(here.fingerprint) == 16


def test_the_fingerprint_ignores_what_does_not_and_the_order_of_libraries():
    here = this_machine()
    backwards = dict(reversed(here.libraries.items()))
    assert replace(here, memory_bytes=1, system="x", libraries=backwards).fingerprint == here.fingerprint


def test_installed_imports_nothing():
    code = (
        "import sys; from primum.hardware.machine import this_machine, installed; this_machine(); "
        "assert installed('torch'), 'torch'; assert installed('no-such-distribution') is None; "
        "print([m for m in ('torch', 'onnxruntime', 'openvino', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert installed("numpy") == importlib.metadata.version("numpy")
