import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.data.ledger import Ledger, state_folder
from primum.errors import IntegrityError, StorageError

WRITER = """
import sys
from pathlib import Path
from primum.data.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    ledger.record([f"{sys.argv[2]}-{i}-{n}" for n in range(2000)], f"{sys.argv[2]}-{i}")
    print(i, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.jsonl"


@pytest.fixture
def three(path):
    ledger = Ledger(path)
    for candidate, cases in (("one", "ab"), ("two", "bc"), ("three", "xyz")):
        ledger.record(list(cases), candidate)
    return ledger


def start(path, name, count):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE)


def test_openings_come_back_in_order(three):
    assert [(o.candidate, o.cases) for o in three.openings()] == [
        ("one", ("a", "b")),
        ("two", ("b", "c")),
        ("three", ("x", "y", "z")),
    ]
    assert all(o.when.endswith("+00:00") for o in three.openings())


def test_no_file_is_no_opening(path):
    assert Ledger(path).openings() == () and Ledger(path).prior(["a"], "x") == () and not path.exists()


def test_the_same_candidate_on_the_same_cases_is_recorded_once(three):
    before = three.path.read_bytes()
    again = three.record(["b", "a"], "one")
    assert again == three.openings()[0] and three.path.read_bytes() == before
    three.record(["a"], "one")
    assert len(three.openings()) == 4, "the same candidate on other cases is another opening"


def test_prior_finds_other_candidates_by_shared_content(three):
    found = {o.candidate: share for o, share in three.prior(["b", "c", "q", "r"], "new")}
    assert found == {"one": 0.25, "two": 0.5}
    assert {o.candidate for o, _ in three.prior(["b"], "two")} == {"one"}
    assert three.prior(["nobody"], "new") == () and three.prior([], "new") == ()


def test_two_looks_within_one_second_stay_two(path):
    """Sentences tell a look by its moment, and the same sentence twice is said once."""
    ledger = Ledger(path)
    looks = [ledger.record(["a"], candidate) for candidate in "abcdefgh"]
    assert len({look.when for look in looks}) == len(looks)


def test_an_opening_says_what_kind_of_look_it_was(path):
    ledger = Ledger(path)
    assert ledger.record(["a"], "one").look == "confirmation"
    assert ledger.record(["a"], "two", look="validation").look == "validation"
    assert [o.look for o in ledger.openings()] == ["confirmation", "validation"]


def test_openings_by_an_older_key_cannot_be_compared_and_that_is_told(path):
    """As they were written when cases were known by the bytes of their files."""
    from primum.data.ledger import _hash

    body = {"when": "2026-01-02T03:04:05+00:00", "candidate": "one", "cases": ["a", "b"], "previous": ""}
    path.parent.mkdir()
    path.write_text(json.dumps({**body, "hash": _hash(body)}) + "\n")
    path.with_suffix(".head").write_text(_hash(body))
    ledger = Ledger(path)
    assert ledger.prior(["a", "b"], "two") == (), "these are no digests of the same kind"
    assert [o.candidate for o in ledger.uncomparable()] == ["one"]
    ledger.record(["a", "b"], "one")
    ledger.record(["b"], "two")
    assert len(ledger.openings()) == 3 and len(ledger.uncomparable()) == 1
    assert [(o.candidate, share) for o, share in ledger.prior(["b"], "new")] == [("one", 1.0), ("two", 1.0)]


def cut_off(three):
    lines = three.path.read_text().splitlines(keepends=True)
    three.path.write_text("".join(lines[:-1]))


def remove(three):
    three.path.unlink()


def lose_head(three):
    three.head.unlink()


@pytest.mark.parametrize("tamper", [cut_off, remove, lose_head])
def test_a_removed_end_is_detected(three, tamper):
    tamper(three)
    for use in (three.openings, lambda: three.prior(["a"], "new"), lambda: three.record(["a"], "new")):
        with pytest.raises(IntegrityError, match="removed"):
            use()


def test_ledger_and_head_written_anew_together_are_seen_by_a_hash_kept_elsewhere_alone(three):
    kept = three.openings()[-1].hash
    for file in (three.path, three.head):
        file.unlink()
    three.record(["a", "b"], "one")
    assert [o.candidate for o in three.openings()] == ["one"]
    assert kept not in {o.hash for o in three.openings()}


def test_a_crash_between_record_and_head_is_no_tampering(three):
    behind = three.openings()[-2].hash
    three.head.write_text(behind)
    assert len(three.openings()) == 3
    three.record(["new"], "four")
    assert three.head.read_text() == three.openings()[-1].hash


def test_the_hash_of_an_opening_is_the_chain_so_far(three):
    opening = three.record(["q"], "four")
    assert opening == three.openings()[-1] and opening.hash == three.head.read_text()


def edit(lines):
    lines[1] = lines[1].replace('"two"', '"ten"')


def edit_and_rehash(lines):
    from primum.data.ledger import _hash

    record = json.loads(lines[1])
    record["cases"] = ["c"]
    record["hash"] = _hash({k: v for k, v in record.items() if k != "hash"})
    lines[1] = json.dumps(record) + "\n"


def reorder(lines):
    lines[1], lines[2] = lines[2], lines[1]


def delete_first(lines):
    del lines[0]


def delete_middle(lines):
    del lines[1]


def repeat(lines):
    lines.append(lines[2])


def garbage(lines):
    lines.insert(1, "\xff not json\n")


def other_json(lines):
    lines[0] = "[]\n"


def glue(lines):
    lines[0] = lines[0].rstrip("\n")


@pytest.mark.parametrize(
    "tamper", [edit, edit_and_rehash, reorder, delete_first, delete_middle, repeat, garbage, other_json, glue]
)
def test_tampering_is_detected_by_every_reader_and_writer(three, tamper):
    lines = three.path.read_text().splitlines(keepends=True)
    tamper(lines)
    three.path.write_bytes("".join(lines).encode("latin-1"))
    for use in (three.openings, lambda: three.prior(["a"], "new"), lambda: three.record(["a"], "new")):
        with pytest.raises(IntegrityError, match=r"line \d was changed"):
            use()


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_no_single_changed_byte_passes(tmp_path_factory, data):
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "l.jsonl")
    for candidate in "ab":
        ledger.record(["x", candidate], candidate)
    raw, before = bytearray(ledger.path.read_bytes()), ledger.openings()
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] = data.draw(st.integers(0, 255).filter(lambda v: v != raw[at]))
    ledger.path.write_bytes(raw)
    with contextlib.suppress(IntegrityError):
        assert ledger.openings() == before, "only a change without meaning (white space) may pass"


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_line_cut_short_by_a_crash_is_an_opening_that_never_happened(three, share):
    """`record` returns only when the whole line is on the disk, and cases are looked at only then."""
    *first, last = three.path.read_bytes().splitlines(keepends=True)
    three.head.write_text(three.openings()[-2].hash)  # it is written after the line
    three.path.write_bytes(b"".join(first) + last[: max(1, int(len(last) * share) - 2)])
    assert [o.candidate for o in three.openings()] == ["one", "two"]
    three.record(["x", "y", "z"], "three")
    three.record(["q"], "four")
    assert [o.candidate for o in three.openings()] == ["one", "two", "three", "four"]


def test_a_last_line_without_its_end_of_line_still_counts(three):
    three.path.write_bytes(three.path.read_bytes().rstrip(b"\n"))
    assert [o.candidate for o in three.openings()] == ["one", "two", "three"]
    three.record(["q"], "four")
    assert [o.candidate for o in three.openings()] == ["one", "two", "three", "four"]


def test_processes_append_at_once_and_readers_see_whole_lines(path):
    writers = [start(path, f"w{i}", 8) for i in range(3)]
    while any(w.poll() is None for w in writers):
        Ledger(path).openings()
    assert [w.wait() for w in writers] == [0, 0, 0]
    for writer in writers:
        writer.stdout.close()
    assert {o.candidate for o in Ledger(path).openings()} == {f"w{i}-{n}" for i in range(3) for n in range(8)}
    assert len(path.read_text().splitlines()) == 24


def test_a_first_record_written_while_a_reader_looks_is_no_removal(path):
    class Raced(Ledger):
        """Another process writes the first record just after this one has looked for the file, or for its head."""

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name in ("path", "head"):
                Late.looks += 1
                if Late.looks == Late.at:
                    Ledger(path).record(["x"], "first")
            return value

    class Late:
        looks, at = 0, 0

    for at in range(1, 6):
        path.unlink(missing_ok=True)
        Ledger(path).head.unlink(missing_ok=True)
        Late.looks, Late.at = 0, at
        assert len(Raced(path).openings()) in (0, 1)
        assert len(Ledger(path).openings()) == (Late.looks >= at)


def test_a_killed_writer_leaves_a_ledger_that_holds_all_it_promised(path):
    writer = start(path, "w", 10_000)
    for _ in range(3):
        promised = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert {f"w-{i}" for i in range(promised + 1)} <= {o.candidate for o in Ledger(path).openings()}
    Ledger(path).record(["x"], "after")
    assert Ledger(path).openings()[-1].candidate == "after"


def test_a_full_disk_refuses_the_opening_and_keeps_the_ledger_whole(small_disk):
    ledger = Ledger(small_disk / "ledger.jsonl")
    ledger.record(["a"], "one")
    before = ledger.path.read_bytes()
    with pytest.raises(StorageError, match="the disk is full"):
        ledger.record([f"{i:020d}" for i in range(50_000)], "two")
    assert ledger.path.read_bytes() == before
    ledger.record(["b"], "three")
    assert [o.candidate for o in ledger.openings()] == ["one", "three"]


def test_where_the_state_lives(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIMUM_STATE", str(tmp_path / "mine"))
    assert state_folder() == tmp_path / "mine" and Ledger().path.parent == tmp_path / "mine"
    monkeypatch.delenv("PRIMUM_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder() == tmp_path / "xdg" / "primum"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local" / "state" / "primum"


def test_a_state_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "state").write_text("")
    ledger = Ledger(tmp_path / "state" / "ledger.jsonl")
    assert ledger.openings() == ()
    with pytest.raises(StorageError, match="state"):
        ledger.record(["a"], "one")
