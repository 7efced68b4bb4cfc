import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.data.pseudonym import local_key, pseudonyms
from primum.errors import IntegrityError, StorageError

KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.lists(st.text(max_size=12), max_size=20))
@settings(deadline=None)
def test_equal_names_and_only_those_share_a_pseudonym(names):
    names = np.array(names, dtype=np.str_)
    got = pseudonyms(names, KEY)
    assert all(re.fullmatch("case-[0-9a-f]{12}", p) for p in got)
    assert len(set(got)) == len(set(names)) and list(got) == list(pseudonyms(names, KEY))
    assert not set(got) & set(pseudonyms(names, OTHER))


def test_a_pseudonym_says_nothing_without_the_key():
    names = np.array(["patient-0001.png", "patient-0002.png"])
    got = " ".join(pseudonyms(names, KEY))
    assert "0001" not in got and "patient" not in got


def test_the_key_is_made_once_and_is_the_users_alone(tmp_path):
    old = os.umask(0)
    try:
        key = local_key(tmp_path / "state")
    finally:
        os.umask(old)
    assert len(key) == 32 and local_key(tmp_path / "state") == key and local_key(tmp_path / "other") != key
    (file,) = (tmp_path / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_key_is_never_readable_by_others_not_even_for_a_moment(tmp_path, monkeypatch):
    opened, real = [], os.open

    def watch(path, flags, mode=0o777, **more):
        if flags & os.O_CREAT:
            opened.append(mode)
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", watch)
    local_key(tmp_path)
    assert opened and all(mode & 0o077 == 0 for mode in opened)


def test_processes_that_start_together_agree_on_one_key(tmp_path):
    code = "import sys; from pathlib import Path; from primum.data.pseudonym import local_key; " + (
        "sys.stdin.readline(); print(local_key(Path(sys.argv[1])).hex())"
    )
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")], stdin=pipe, stdout=pipe, text=True)
        for _ in range(4)
    ]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate()[0].strip() for process in started}
    assert keys == {local_key(tmp_path / "s").hex()}
    assert len(list((tmp_path / "s").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 200])
def test_a_damaged_key_is_not_used(tmp_path, content):
    """An empty key would make pseudonyms that anybody can compute."""
    (tmp_path / "pseudonym.key").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"pseudonym\.key"):
        local_key(tmp_path)


def test_a_folder_that_cannot_be_written(readonly_folder):
    with pytest.raises(StorageError):
        local_key(readonly_folder)
