import threading
import time

import pytest

from primum.benchmark import StageTimer
from primum.benchmark.timer import contention, preemptions
from primum.errors import InputError


def test_times_a_stage_in_milliseconds():
    timer = StageTimer()
    with timer.time_stage("preprocessing"):
        time.sleep(0.02)
    stats = timer.get_statistics("preprocessing")
    assert 20 <= stats["mean"] < 1000
    assert stats["count"] == 1


def test_a_stage_that_raises_is_not_recorded_and_the_error_passes():
    timer = StageTimer()
    with pytest.raises(ZeroDivisionError), timer.time_stage("total"), timer.time_stage("classification"):
        _ = 1 / 0
    assert timer.get_all_statistics() == {}
    with timer.time_stage("total"):
        pass
    assert timer.get_statistics("total")["count"] == 1


def test_standard_stages_come_first_and_other_names_are_welcome():
    timer = StageTimer()
    for name in ("upload", "total", "preprocessing"):
        with timer.time_stage(name):
            pass
    assert list(timer.get_all_statistics()) == ["preprocessing", "total", "upload"]


def test_an_unknown_stage_says_what_there_is():
    timer = StageTimer()
    with timer.time_stage("total"):
        pass
    with pytest.raises(InputError, match=r"'resize'.*total"):
        timer.get_statistics("resize")


def test_reset_forgets():
    timer = StageTimer()
    with timer.time_stage("total"):
        pass
    timer.reset()
    assert timer.get_timings("total") == []


def test_no_call_is_lost_between_threads():
    timer = StageTimer()

    def work():
        for _ in range(500):
            with timer.time_stage("total"):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timer.get_statistics("total")["count"] == 4000


def test_nested_stages_add_up():
    timer = StageTimer()
    with timer.time_stage("total"):
        for name in ("preprocessing", "classification"):
            with timer.time_stage(name):
                time.sleep(0.005)
    parts = sum(timer.get_statistics(s)["mean"] for s in ("preprocessing", "classification"))
    assert timer.get_statistics("total")["mean"] >= parts


def test_a_busy_machine_is_said_and_a_quiet_one_is_not():
    assert contention(preempted=841, calls=100).startswith("BUSY MACHINE: a core was taken away 841 times during 100")
    assert contention(preempted=3, calls=100) is None
    assert preemptions() >= 0
