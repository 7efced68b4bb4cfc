"""Olive, in an environment of its own: its pins and primum's do not meet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "olive_requirements.txt"
_INSTALL_S, _RUN_S = 1800, 1800


@dataclass(frozen=True)
class Olive:
    """The environment's Python; None with the reason where there is none."""

    python: Path | None
    why: str = ""
    version: str = ""

    def quantize(self, source: Path, calibration: Path, out: Path, transformer: bool) -> dict[str, dict[str, str]]:
        """Every workflow of olive_worker.py: name to {"file": ...} or {"why": ...}."""
        if self.python is None:
            return {"": {"why": self.why}}
        asked: dict[str, Any] = {"model": source, "calibration": calibration, "out": out, "transformer": transformer}
        command = [str(self.python), str(HERE / "olive_worker.py"), json.dumps(asked, default=str)]
        # Nothing is to be fetched or reported while it works.
        quiet = {"OLIVE_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=True,
                timeout=_RUN_S,
                env=_clean() | quiet,
                cwd=out.parent,
            )
            found: dict[str, dict[str, str]] = json.loads(done.stdout.strip().splitlines()[-1])
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            return {"": {"why": f"it did not run: {_last(error)}"}}
        return found


def olive_environment(place: Path | None) -> Olive:
    """The environment in `place`, made where it is missing (a download of some 400 MB)."""
    if place is None:
        return Olive(None, "not asked for")
    python = place / "bin" / "python"
    try:
        if not (place / "installed").is_file():
            print(f"making an environment for Olive in {place}", flush=True)
            base = [sys.executable, "-m", "venv", "--clear", str(place)]
            subprocess.run(base, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
            command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S, env=_clean())
            (place / "installed").touch()
        ask = "import importlib.metadata as m; print(m.version('olive-ai'))"
        done = subprocess.run([str(python), "-c", ask], check=True, capture_output=True, text=True, env=_clean())
    except (OSError, subprocess.SubprocessError) as error:
        return Olive(None, f"it could not be installed in {place}: {_last(error)}")
    return Olive(python, version=done.stdout.strip())


def default_place() -> Path:
    """A folder that outlives the run."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "primum-bench" / "olive"


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def _last(error: Exception) -> str:
    text = str(getattr(error, "stderr", None) or error).strip().splitlines()
    return text[-1][:300] if text else type(error).__name__
