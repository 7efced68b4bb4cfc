"""Learning rate and time."""

from primum.techniques.training.config import TrainingConfig
from primum.techniques.training.schedule import FLOOR, Plan


def test_the_rate_rises_then_falls_to_its_floor():
    plan = Plan(TrainingConfig(epochs=10, learning_rate=0.1, warmup=0.2), 10)
    rates = [plan.rate(step) for step in range(100)]
    top = rates.index(max(rates))
    assert 19 <= top <= 20 and abs(max(rates) - 0.1) < 1e-3
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(plan.rate(100) - 0.1 * FLOOR) < 1e-9 and rates[0] > 0


def test_steps_that_do_not_fit_are_cut_and_the_rate_still_falls():
    plan = Plan(TrainingConfig(epochs=10, max_minutes=1), 10)
    plan.fit_time(5, 5.0, 1.0)
    assert 45 <= plan.total <= 60 and plan.cut
    assert plan.rate(plan.total) < 0.02 * plan.config.learning_rate


def test_time_that_suffices_changes_nothing():
    plan = Plan(TrainingConfig(epochs=10, max_minutes=3), 10)
    plan.fit_time(5, 5.0, 1.0)
    assert plan.total == 100 and not plan.cut
    free = Plan(TrainingConfig(epochs=10), 10)
    free.fit_time(5, 1e9, 1e9)
    assert free.total == 100


def test_no_time_left_is_one_step_more():
    plan = Plan(TrainingConfig(epochs=10, max_minutes=1), 10)
    plan.fit_time(5, 100.0, 1.0)
    assert plan.total == 6


def test_time_is_kept_for_the_validation_after_the_last_step():
    plan = Plan(TrainingConfig(epochs=10, max_minutes=1), 10)
    plan.reserved = 20.0
    assert plan.deadline == 40.0
    plan.fit_time(5, 5.0, 1.0)
    assert 30 <= plan.total <= 40


def test_a_cut_that_proves_too_deep_is_taken_back_while_the_rate_is_high():
    plan = Plan(TrainingConfig(epochs=10, max_minutes=1), 10)
    plan.fit_time(5, 5.0, 1.0)
    assert plan.total < 60
    plan.fit_time(10, 8.0, 0.7)
    assert 75 <= plan.total <= 90
    plan.fit_time(20, 10.0, 0.1)
    assert plan.total == 100 and not plan.cut


def test_late_in_training_the_rate_never_rises_again():
    plan = Plan(TrainingConfig(epochs=10, max_minutes=1), 10)
    plan.fit_time(5, 5.0, 1.0)
    total = plan.total
    plan.fit_time(40, 10.0, 0.1)
    assert plan.total == total
