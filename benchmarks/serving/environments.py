"""A virtual environment for each peer, under a cache folder, made where it is missing: their pins do not meet."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
_INSTALL_S = 1800


@dataclass(frozen=True)
class Environment:
    """A peer's Python; None with the reason where there is none. `versions`: installed library to version."""

    python: Path | None
    why: str = ""
    versions: str = ""


def default_cache() -> Path:
    """A folder that outlives the run."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "primum-bench"


def own_environment(libraries: tuple[str, ...]) -> Environment:
    """The Python that runs this, for the contestants that share its libraries."""
    return Environment(Path(sys.executable), versions=_versions(Path(sys.executable), libraries))


def environment(name: str, libraries: tuple[str, ...], cache: Path) -> Environment:
    """The environment of a peer in `cache`, made anew where its requirements changed (a download of 100 to 500 MB).

    Never raises for an installation that fails: that is a peer to be left out, with the reason.
    """
    place, python = cache / name, cache / name / "bin" / "python"
    files = [REQUIREMENTS / f"{name}.txt", REQUIREMENTS / f"{name}-without-dependencies.txt"]
    files = [file for file in files if file.is_file()]
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    mark = place / "installed"
    try:
        if not mark.is_file() or mark.read_text() != wanted:
            print(f"making an environment for {name} in {place}", flush=True)
            _run(sys.executable, "-m", "venv", "--clear", str(place))
            for file in files:
                alone = ["--no-deps"] if file.stem.endswith("without-dependencies") else []
                _run(str(python), "-m", "pip", "install", "--quiet", *alone, "--requirement", str(file))
            mark.write_text(wanted)
        return Environment(python, versions=_versions(python, libraries))
    except (OSError, subprocess.SubprocessError) as error:
        return Environment(None, f"it could not be installed in {place}: {last_line(error)}")


def clean_environment() -> dict[str, str]:
    """The variables of this process without those that lead another Python to this one's libraries."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}


def last_line(error: Exception) -> str:
    """What a failed command said last."""
    text = str(getattr(error, "stderr", None) or error).strip().splitlines()
    return text[-1][:300] if text else type(error).__name__


def _run(*command: str) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_INSTALL_S, env=clean_environment()
    )
    return done.stdout


def _versions(python: Path, libraries: tuple[str, ...]) -> str:
    ask = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    return _run(str(python), "-c", ask, *libraries).strip()
