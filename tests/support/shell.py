"""Running the command line as a user does."""

import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parent


def primum(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m primum.cli.main ...` with the tests' networks importable."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=280, cwd=cwd, env=environ(**environment)
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "primum.cli.main", *map(str, arguments)]


def environ(**environment: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(SUPPORT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **environment}
