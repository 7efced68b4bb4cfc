"""Records of flips on a disk: whole or not at all, and never less strict than what was written before."""

import threading

import pytest

from primum.errors import InputError, StorageError
from primum.serving.ladder.flip_test import FlipRecord
from primum.serving.ladder.trust import TrustStore

DIGEST = "ab" * 32


def record(**changes):
    given = {"sha256": DIGEST, "recipe": "r", "against": "c", "most_flips": 0.02, "cases": 9, "flips": 1}
    return FlipRecord(**given | changes)


def test_what_was_written_is_read_by_another_process_later(tmp_path):
    assert TrustStore(tmp_path / "s").read(DIGEST) is None
    for written in (record(), record(cases=10), record(cases=11, barred="2026-01-01")):
        TrustStore(tmp_path / "s").write(written)
        assert TrustStore(tmp_path / "s").read(DIGEST) == written
    assert [path.name for path in (tmp_path / "s").iterdir()] == [f"{DIGEST}.json"]


def test_a_bar_is_not_taken_back_by_counts_of_another_process(tmp_path):
    store = TrustStore(tmp_path)
    store.write(record(barred="2026-01-01"))
    store.write(record(cases=1000, flips=1))
    assert store.read(DIGEST).barred == "2026-01-01"


def test_a_bar_and_counts_at_the_same_time_end_in_the_bar(tmp_path):
    store = TrustStore(tmp_path)
    threads = [
        threading.Thread(target=store.write, args=(record(cases=100 + k, barred="now" if k == 10 else None),))
        for k in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(DIGEST).barred == "now"


@pytest.mark.parametrize("text", ["", "{", '{"sha256": "x"}', record(cases=0).model_dump_json().replace(":0", ":-1")])
def test_a_damaged_record_is_refused_and_not_taken_for_none(tmp_path, text):
    store = TrustStore(tmp_path)
    store.path(DIGEST).write_text(text)
    with pytest.raises(InputError, match="no record of flips"):
        store.read(DIGEST)


def test_a_record_of_another_artifact_is_refused(tmp_path):
    store = TrustStore(tmp_path)
    store.path(DIGEST).write_text(record(sha256="cd").model_dump_json())
    with pytest.raises(InputError, match="another artifact"):
        store.read(DIGEST)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        TrustStore(tmp_path / "file" / "state")
