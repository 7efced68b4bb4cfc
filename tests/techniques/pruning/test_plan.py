"""Which channels go: properties of the arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.techniques.pruning.plan import ChannelSet, cut, shares

scores = st.integers(1, 8).flatmap(
    lambda blocks: st.tuples(
        st.just(blocks), st.lists(st.floats(0, 1e3), min_size=1, max_size=40).map(lambda s: np.array(s * blocks))
    )
)


@given(scores, st.floats(0.01, 0.99), st.sampled_from([1, 2, 4, 8, 16]))
def test_cut_removes_the_least_and_never_more_than_asked(blocks_and_score, share, round_to):
    blocks, score = blocks_and_score
    found = cut(ChannelSet("a", ("a",), len(score), blocks), score, share, round_to)
    size = len(score) // blocks
    if found is None:
        assert int(np.ceil(size * (1 - share) - 1e-9)) >= size or size == 1
        return
    gone = np.array(found.idxs)
    left = len(score) - len(gone)
    assert 0 < len(gone) <= share * len(score) + 1e-6 and left >= blocks
    assert left % found.rounding == 0 and round_to % found.rounding == 0
    for block in range(blocks):
        of_block = gone[(gone >= block * size) & (gone < (block + 1) * size)] - block * size
        assert np.array_equal(of_block, gone[gone < size]), "the same places go in each block"
    mean = score.reshape(blocks, size).mean(0)
    kept = np.setdiff1d(np.arange(size), gone[gone < size])
    assert mean[gone[gone < size]].max() <= mean[kept].min()


def test_rounding_falls_only_as_far_as_it_must():
    one = ChannelSet("a", ("a",), 64)
    assert len(cut(one, np.arange(64.0), 0.3, 8).idxs) == 16 and cut(one, np.arange(64.0), 0.3, 8).rounding == 8
    narrow = ChannelSet("a", ("a",), 8)
    assert cut(narrow, np.arange(8.0), 0.5, 8).rounding == 4
    assert cut(narrow, np.arange(8.0), 0.3, 8).idxs == (0, 1)
    assert cut(ChannelSet("a", ("a",), 3), np.arange(3.0), 0.3, 8) is None


def test_global_ranking_takes_from_the_idle_layer_but_not_all():
    sets = (ChannelSet("idle", ("idle",), 10), ChannelSet("busy", ("busy",), 10))
    worth = {"idle": np.array([1e-6] * 9 + [10.0]), "busy": np.full(10, 5.0)}
    assert shares(sets, worth, 0.45, 0.8, uniform=False) == {"idle": 0.8, "busy": 0.0}
    assert shares(sets, worth, 0.45, 0.8, uniform=True) == {"idle": 0.45, "busy": 0.45}


@given(st.floats(0.05, 0.95), st.integers(0, 5))
def test_global_ranking_removes_the_ratio_of_all(ratio, seed):
    rng = np.random.default_rng(seed)
    sets = tuple(ChannelSet(str(i), (str(i),), 50) for i in range(4))
    found = shares(sets, {s.name: rng.exponential(size=50) for s in sets}, ratio, 1.0, uniform=False)
    assert np.mean(list(found.values())) == pytest.approx(ratio, abs=0.006)
