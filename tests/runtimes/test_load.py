"""From an artifact folder to a predictor, and what is said of one that nothing proves."""

import warnings

import pytest
from served import build_artifact

import primum


def test_loading_an_unproven_artifact_warns_where_it_is_loaded(tmp_path):
    folder = build_artifact(tmp_path / "a", verdict="INCONCLUSIVE", unproven=True)
    with pytest.warns(primum.UnprovenWarning, match="UNPROVEN.*no worse than the original.*INCONCLUSIVE") as said:
        predictor = primum.load(folder)
    with predictor:
        assert predictor.unproven
    assert [warning.filename for warning in said] == [__file__], "the line that loads it, not one of primum's"
    assert issubclass(primum.UnprovenWarning, UserWarning), "shown unless somebody turns it off"


def test_a_proven_artifact_loads_in_silence(tmp_path):
    folder = build_artifact(tmp_path / "a", verdict="NON_INFERIOR")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with primum.load(folder) as predictor:
            assert not predictor.unproven
