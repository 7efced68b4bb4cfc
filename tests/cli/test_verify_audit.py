"""`primum verify` of an audit log."""

import json

import pytest
from shell import primum

from primum.serving.security.audit import AuditLog, Event, verify_audit


@pytest.fixture
def log(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    for number in range(3):
        log.add(Event(1.7e9 + number, "ward-7", "infer", "chest", "ab" * 32, f"case-{number}", 1, 200))
    log.close()
    return log.path


def test_a_whole_log_tells_its_records_and_its_end(log):
    end = verify_audit(log).end
    done = primum("verify", log)
    assert done.returncode == 0 and "3 records" in done.stdout and end in done.stdout
    done = primum("verify", log, "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == {"records": 3, "end": end}


def test_the_first_bad_line_is_named(log):
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + lines[1].replace(b"ward-7", b"ward-8") + lines[2])
    done = primum("verify", log)
    assert done.returncode == 2 and "line 2" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--expect", "--factory", "--public-key", "--signature"])
def test_what_is_checked_of_artifacts_alone_is_refused(log, option):
    done = primum("verify", log, option, "x")
    assert done.returncode == 2 and option in done.stderr and "audit log" in done.stderr
