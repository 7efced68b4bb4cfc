"""How much of the memory that this process and its children may use is in use."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_UNLIMITED = 2**60
"""Version 1 control groups write a number near 2**63 where there is no limit."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes. `source`: `cgroup` (a container's limit), `system` (all of the machine), or `peak` (see `memory_use`)."""

    used: int
    limit: int
    source: str

    @property
    def share(self) -> float:
        """In use, of the limit."""
        return self.used / self.limit


def memory_use(root: Path = _ROOT) -> MemoryUse:
    """The tightest of the machine's memory and the limits of this process' control groups (Linux, version 1 and 2).

    What the system can take back at once, such as files that were read, does not count. Elsewhere than on Linux: the
    most that this process has held so far, which never falls, of the machine's memory.
    """
    system = _system(root)
    if system is None:
        unit = 1 if sys.platform == "darwin" else 1024
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return MemoryUse(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, physical, "peak")
    found = [system, *(use for use in _groups(root) if use.limit < system.limit)]
    return max(found, key=lambda use: use.share)


def _system(root: Path) -> MemoryUse | None:
    fields = _numbers(root / "proc/meminfo")
    if "MemTotal:" not in fields or "MemAvailable:" not in fields:
        return None
    total = fields["MemTotal:"] * 1024
    return MemoryUse(total - fields["MemAvailable:"] * 1024, total, "system")


def _groups(root: Path) -> list[MemoryUse]:
    """Of every group with a limit, from this process' own up to the topmost."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = base / path.strip("/")
        # In a container the path may be the host's; its own group is then mounted at the base.
        for folder in (own, *own.parents):
            use = _group(folder, *names)
            if use is not None:
                found.append(use)
            if folder == base:
                break
    return found


def _group(folder: Path, limit_name: str, used_name: str, cached: str) -> MemoryUse | None:
    limit, used = _text(folder / limit_name).strip(), _text(folder / used_name).strip()
    if not limit.isdigit() or not used.isdigit() or not 0 < int(limit) < _UNLIMITED:
        return None
    reclaimable = _numbers(folder / "memory.stat").get(cached, 0)
    return MemoryUse(max(0, int(used) - reclaimable), int(limit), "cgroup")


def _numbers(path: Path) -> dict[str, int]:
    """The second word of each line by its first."""
    words = [line.split() for line in _text(path).splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
