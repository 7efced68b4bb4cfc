"""On the path of a study's process: hardly timed and in that process alone, as in the tests of workflows."""

import sys

if "--model=nets:build" in sys.orig_argv:
    import inline
    import pytest

    patch = pytest.MonkeyPatch()
    inline.patch(patch)
    patch.setattr("primum.benchmark.timing._BLOCK_MS", 2.0)
    patch.setattr("primum.study.race.ROUNDS", 2)
    for name in ("study.runner.TIMED_ROUNDS", "workflows.optimize.FINAL_ROUNDS", "workflows.optimize.STAGE_IMAGES"):
        patch.setattr(f"primum.{name}", 3)
