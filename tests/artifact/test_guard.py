"""Two sessions as one: which rows the original answers, and that nothing else changes."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from primum.artifact.guard import GuardedSession
from primum.artifact.predictor import Proven
from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.validation.decisions import Rule

SIGNATURE = Signature(input_shape=(1,), outputs=1, classes=("well", "ill"), activation=Activation.SIGMOID)


class Line:
    """raw = slope * x + shift."""

    proven = Proven("fp32", "test", 1)

    def __init__(self, slope=1.0, shift=0.0, batch_invariant=True):
        self.slope, self.shift, self.batch_invariant = slope, shift, batch_invariant
        self.seen: list[int] = []
        self.closed = False

    def run(self, batch):
        self.seen.append(len(batch))
        return (self.slope * batch + self.shift).astype(np.float32)

    def close(self):
        self.closed = True


def guarded(fast, reference, band, signature=SIGNATURE, rule=None):
    return GuardedSession(fast, reference, signature, rule or Rule(Task.BINARY, (0.5,)), band)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@given(arrays(np.float32, (20, 1), elements=st.floats(-8, 8, width=32)), st.floats(0.001, 0.5))
def test_the_original_answers_within_the_band_and_nowhere_else(batch, band):
    fast, reference = Line(1.0, 0.1), Line(1.0, 0.0)
    raw, deferred = guarded(fast, reference, band).run_guarded(batch)
    score = sigmoid(batch[:, 0].astype(np.float64) + np.float32(0.1))
    near = np.abs(score - 0.5) <= band
    clear = np.abs(np.abs(score - 0.5) - band) > 1e-5  # float32 sums may fall either way on the edge itself
    assert (deferred == near)[clear].all()
    assert np.array_equal(raw[deferred], batch[deferred])
    assert np.allclose(raw[~deferred], batch[~deferred] + 0.1)
    assert sum(reference.seen) == deferred.sum(), "the original runs on the deferred rows alone"


def test_no_finite_answer_is_an_answer_of_the_original():
    class Broken(Line):
        def run(self, batch):
            return np.full_like(batch, np.nan)

    raw, deferred = guarded(Broken(), Line(), 0.01).run_guarded(np.array([[5.0], [-5.0]], np.float32))
    assert deferred.all() and raw[:, 0].tolist() == [5.0, -5.0]


def test_of_several_classes_the_lead_of_the_first_decides():
    signature = Signature(
        input_shape=(3,), outputs=3, task=Task.MULTICLASS, classes=("a", "b", "c"), activation=Activation.SOFTMAX
    )
    batch = np.log(np.array([[0.5, 0.4, 0.1], [0.8, 0.1, 0.1]], np.float32))
    session = guarded(Line(), Line(1.0, 1.0), 0.2, signature, Rule(Task.MULTICLASS, ()))
    raw, deferred = session.run_guarded(batch)
    assert deferred.tolist() == [True, False]
    assert np.allclose(raw[0], batch[0] + 1.0) and np.allclose(raw[1], batch[1])


def test_models_whose_answers_depend_on_the_batch_run_one_by_one():
    fast, reference = Line(batch_invariant=False), Line(batch_invariant=False)
    guarded(fast, reference, 0.4).run(np.zeros((3, 1), np.float32))
    assert fast.seen == [1, 1, 1] and reference.seen == [1, 1, 1]


def test_deferrals_are_counted_across_threads():
    session = guarded(Line(), Line(), 0.1)
    batch = np.array([[0.0], [4.0]], np.float32)
    threads = [threading.Thread(target=lambda: [session.run(batch) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.deferrals.cases == 400 and session.deferrals.deferred == 200
    assert session.deferrals.share == pytest.approx(0.5)


def test_closing_closes_both_and_what_runs_is_said():
    fast, reference = Line(), Line()
    session = guarded(fast, reference, 0.1)
    assert any("guarded" in note for note in session.proven.notes)
    session.close()
    assert fast.closed and reference.closed
