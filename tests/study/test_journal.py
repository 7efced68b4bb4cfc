"""The journal of an exploration outlives killed writers."""

import optuna
import pytest

from primum.study.journal import KernelLock, open_journal


def study(path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(storage=open_journal(path), study_name="s", load_if_exists=True)


def test_a_line_that_was_cut_off_is_removed_before_the_next_is_written(tmp_path):
    path = tmp_path / "journal"
    study(path).set_user_attr("first", 1)
    with path.open("ab") as file:
        file.write(b'{"op_code":2,"worker_id":"half')
    study(path).set_user_attr("second", 2)
    assert study(path).user_attrs == {"first": 1, "second": 2}


def test_without_the_repair_nothing_could_be_read_after_it(tmp_path, monkeypatch):
    """The fault is real: Optuna's own lock leaves the torn line where it is."""
    path = tmp_path / "journal"
    study(path).set_user_attr("first", 1)
    with path.open("ab") as file:
        file.write(b'{"op_code":2,"worker_id":"half')
    monkeypatch.setattr(KernelLock, "acquire", lambda self: self._lock.take())
    with pytest.raises(ValueError):
        study(path).set_user_attr("second", 2)
        study(path).set_user_attr("third", 3)
        study(path)
