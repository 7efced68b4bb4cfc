"""The batcher's benchmark: that every table is printed, on few requests."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_table_is_printed():
    done = subprocess.run(
        [sys.executable, "benchmarks/batcher.py", "--requests", "640"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    # Costs: 3 + 4 rows; A: 2 services at 5 loads; B: 2 services at 3 loads, twice; 4 headings of 2 lines.
    assert len(rows) == 7 + 10 + 12 + 8
    assert "Added to a lone request" in done.stdout
