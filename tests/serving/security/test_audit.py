"""The audit log: whole or found out, through kills, full disks and meddling."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.errors import InputError, IntegrityError, StorageError
from primum.serving.security.audit import MOST_WAITING, AuditLog, Event, verify_audit


def event(number=0):
    return Event(1.7e9 + number, "ward-7", "infer", "chest", "ab" * 32, f"case-{number}", 1, 200)


def written(path, number, batches=1):
    log = AuditLog(path)
    for batch in range(batches):
        for i in range(number):
            log.add(event(batch * number + i))
        assert log.write() == number
    log.close()
    return path


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_what_was_written_is_whole_across_restarts(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    for size in sizes:
        written(path, size)
    state = verify_audit(path)
    assert state.records == sum(sizes) == len(path.read_text().splitlines())
    first = json.loads(path.read_text().splitlines()[0])
    assert first["who"] == "ward-7" and first["id"] == "case-0" and first["when"].startswith("2023-11-14T")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_changed_byte_is_found(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("audit") / "audit.jsonl", 4)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 127))
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        verify_audit(path)


def test_removed_inserted_and_exchanged_lines_are_found(tmp_path):
    path = written(tmp_path / "audit.jsonl", 4)
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (lines[:2] + lines[3:], lines[:3], lines[:1] + lines, [lines[1], lines[0], *lines[2:]], []):
        path.write_bytes(b"".join(kept))
        with pytest.raises(IntegrityError):
            verify_audit(path)
    with pytest.raises(IntegrityError, match="removed or changed"):
        AuditLog(path)


def test_a_log_has_one_writer(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    with pytest.raises(InputError, match="another process"):
        AuditLog(tmp_path / "audit.jsonl")
    log.close()
    AuditLog(tmp_path / "audit.jsonl").close()


KILLED = """
import sys, pathlib
from primum.serving.security.audit import AuditLog, Event
log = AuditLog(pathlib.Path(sys.argv[1]))
print("begins", flush=True)
while True:
    for i in range(50):
        log.add(Event(1.7e9, "w", "infer", "m", "", str(i), 1, 200))
    log.write()
"""


def test_a_killed_writer_leaves_a_whole_log_that_goes_on(tmp_path):
    path = tmp_path / "audit.jsonl"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            while not path.exists() or path.stat().st_size < 20_000:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
    log = AuditLog(path)
    before = len(path.read_text().splitlines())
    log.add(event())
    log.write()
    log.close()
    assert verify_audit(path).records == before + 1


def test_a_log_that_is_being_written_is_checked_without_a_false_alarm(tmp_path):
    path = tmp_path / "audit.jsonl"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            while not path.is_file() or path.stat().st_size < 20_000:
                assert process.poll() is None
            seen = [verify_audit(path).records for _ in range(8)]
        finally:
            process.kill()
    assert seen == sorted(seen) and seen[-1] > 0
    assert verify_audit(path).records >= seen[-1], "killed between the log and its head is no removal"


def test_a_torn_last_line_is_cut_off_and_told(tmp_path):
    path = written(tmp_path / "audit.jsonl", 2)
    with path.open("ab") as file:
        file.write(b'{"n": 3, "when": "20')
    log = AuditLog(path)
    assert log.dropped_bytes == 20
    log.add(event())
    log.write()
    log.close()
    assert verify_audit(path).records == 3


def test_a_full_disk_is_told_and_nothing_is_lost(small_disk):
    path, filler = small_disk / "audit.jsonl", small_disk / "filler"
    log = AuditLog(path)
    log.add(event())
    assert log.write() == 1 and not log.failing
    filler.write_bytes(b"x" * (256 * 1024 - 40 * 1024))
    for i in range(500):
        log.add(event(i))
    assert log.write() == 0 and log.failing and "disk is full" in log.failure
    assert verify_audit(path).records == 1, "nothing half-written"
    filler.unlink()
    assert log.write() == 500 and not log.failing
    log.close()
    assert verify_audit(path).records == 501


def test_a_disk_that_takes_the_log_and_not_its_head_takes_neither(tmp_path, monkeypatch):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.add(event())
    with monkeypatch.context() as patch:
        patch.setattr("primum.serving.security.audit.write_bytes", full)
        assert log.write() == 0 and log.failing
    assert path.read_bytes() == b""
    assert log.write() == 1
    log.close()
    assert verify_audit(path).records == 1


def full(path, content):
    raise StorageError(f"cannot write {path}: the disk is full")


def test_too_many_waiting_records_stop_the_server(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    for i in range(MOST_WAITING):
        assert not log.failing
        log.add(event(i))
    assert log.failing
    log.write()
    assert not log.failing
    log.close()


def test_what_is_no_log_is_said(tmp_path):
    with pytest.raises(InputError, match="no audit log"):
        verify_audit(tmp_path / "none.jsonl")
    (tmp_path / "odd.jsonl").write_text("hello\n")
    with pytest.raises(IntegrityError, match="line 1 is no record"):
        verify_audit(tmp_path / "odd.jsonl")


def test_logs_that_differ_in_their_ending_alone_keep_out_of_each_others_way(tmp_path):
    one, two = AuditLog(tmp_path / "audit.jsonl"), AuditLog(tmp_path / "audit.log")
    for log, number in ((one, 3), (two, 5)):
        for i in range(number):
            log.add(event(i))
        log.write()
        log.close()
    assert verify_audit(one.path).records == 3 and verify_audit(two.path).records == 5
    one.path.write_bytes(b"")
    with pytest.raises(IntegrityError):
        verify_audit(one.path)
    assert verify_audit(two.path).records == 5


def named_as_before(path, number=3):
    """A log whose head has the name that an earlier release gave it."""
    written(path, number)
    path.with_name(path.name + ".head").rename(path.with_suffix(".head"))
    path.with_name(path.name + ".lock").unlink()
    return path


@pytest.mark.parametrize("kept", [0, 1])
def test_a_head_of_an_earlier_name_still_tells_that_records_were_removed(tmp_path, kept):
    path = named_as_before(tmp_path / "audit.jsonl")
    assert verify_audit(path).records == 3
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
    with pytest.raises(IntegrityError):
        verify_audit(path)
    with pytest.raises(IntegrityError):
        AuditLog(path)
    with pytest.raises(IntegrityError):
        verify_audit(path)


def test_a_head_of_an_earlier_name_is_taken_over(tmp_path):
    path = named_as_before(tmp_path / "audit.jsonl")
    written(path, 2)
    assert verify_audit(path).records == 5 and not path.with_suffix(".head").exists()


def test_a_head_of_an_earlier_name_is_not_that_of_the_log_beside(tmp_path):
    named_as_before(tmp_path / "audit.jsonl")
    assert verify_audit(written(tmp_path / "audit.log", 2)).records == 2
    assert verify_audit(tmp_path / "audit.jsonl").records == 3


def test_a_log_is_continued_however_long_its_last_lines_are(tmp_path):
    path = tmp_path / "audit.jsonl"
    for ids in (["x" * (2**20 + 10)], ["y" * 2**21, "z"], ["a" * 100] * 9000):
        log = AuditLog(path)
        for id in ids:
            log.add(event()._replace(id=id))
        log.write()
        log.close()
    assert verify_audit(path).records == 9003


def test_a_long_line_that_a_crash_cut_short_is_cut_off(tmp_path):
    path = written(tmp_path / "audit.jsonl", 2)
    with path.open("ab") as file:
        file.write(b'{"n": 3, "id": "' + b"x" * (2**20 + 10))
    log = AuditLog(path)
    assert log.dropped_bytes == 2**20 + 26
    log.close()
    assert verify_audit(path).records == 2


def test_a_crash_between_a_long_log_and_its_head_is_no_alarm(tmp_path):
    """The head is then the end of the write before, which may lie far back."""
    path = written(tmp_path / "audit.jsonl", 2)
    head = path.with_name("audit.jsonl.head").read_text()
    log = AuditLog(path)
    for _ in range(5000):
        log.add(event()._replace(id="x" * 200))
    log.write()
    log.close()
    assert path.stat().st_size > 2**20
    path.with_name("audit.jsonl.head").write_text(head)
    log = AuditLog(path)
    log.close()
