from collections.abc import Callable

import made
import pytest

from primum.study.trial import Trial


@pytest.fixture(scope="session")
def make_trial() -> Callable[..., Trial]:
    """A trial with a real verdict: `lost` decisions lost among 300 positives and 300 negatives, or lossless."""
    return made.trial_maker()
