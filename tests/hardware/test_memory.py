"""The memory in use: this machine's own, and made-up file systems of containers."""

import mmap
import sys

import pytest

from primum.hardware.memory import memory_use

MIB = 2**20


def files(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def root(tmp_path):
    """8 GiB, half of it available."""
    files(tmp_path, proc__meminfo=f"MemTotal: {8 * MIB} kB\nMemFree: 100 kB\nMemAvailable: {4 * MIB} kB\n")
    return tmp_path


def group(root, folder, limit, used, cached, version=2):
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    place = root / "sys/fs/cgroup" / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, text in zip(
        (*names, "memory.stat"), (limit, used, f"anon 5\n{'total_' * (version == 1)}inactive_file {cached}\n")
    ):
        (place / name).write_text(f"{text}\n")


def test_without_a_group_the_machine_counts(root):
    found = memory_use(root)
    assert (found.source, found.share, found.limit) == ("system", 0.5, 8 * MIB * 1024)


def test_a_container_of_version_2_counts_without_its_cached_files(root):
    files(root, proc__self__cgroup="0::/\n")
    group(root, "", 1024 * MIB, 900 * MIB, 100 * MIB)
    assert memory_use(root).share == 800 / 1024 and memory_use(root).source == "cgroup"


def test_of_nested_groups_the_tightest_counts(root):
    files(root, proc__self__cgroup="0::/outer/inner\n")
    group(root, "outer/inner", "max", 700 * MIB, 0)
    group(root, "outer", 1000 * MIB, 800 * MIB, 0)
    assert memory_use(root).share == 0.8


def test_a_group_that_is_nearly_empty_does_not_hide_a_full_machine(root):
    files(root, proc__self__cgroup="0::/\n")
    group(root, "", 1024 * MIB, 10 * MIB, 0)
    assert memory_use(root).source == "system"


def test_version_1_with_and_without_a_limit(root):
    files(root, proc__self__cgroup="4:memory:/job\n2:cpu:/job\n0::/\n")
    group(root, "memory", 2**63 - 4096, 10 * MIB, 0, version=1)
    assert memory_use(root).source == "system"
    group(root, "memory/job", 512 * MIB, 500 * MIB, 20 * MIB, version=1)
    assert memory_use(root).share == 480 / 512


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_this_process_takes_is_seen():
    before = memory_use()
    with mmap.mmap(-1, 300 * MIB) as taken:
        for place in range(0, len(taken), 4096):
            taken[place] = 1
        assert memory_use().used - before.used > 200 * MIB
    assert 0 < before.share < 1


def test_elsewhere_the_peak_of_the_process(tmp_path):
    found = memory_use(tmp_path)
    assert found.source == "peak" and 10 * MIB < found.used < found.limit
