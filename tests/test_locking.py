"""A lock between processes: exclusive or shared, freed with its holder, not to be led astray."""

import pytest

from primum.errors import StorageError
from primum.locking import Lock


def test_exclusive_shared_and_again(tmp_path):
    one, two, three = (Lock(tmp_path / "lock") for _ in range(3))
    assert one.take(shared=True) and two.take(wait=False, shared=True) and not three.take(wait=False)
    one.release()
    assert not three.take(wait=False)
    two.release()
    assert three.take(wait=False) and three.held and not one.take(wait=False, shared=True)
    three.say("a long text")
    three.say("who")
    assert (tmp_path / "lock").read_text() == "who"
    with pytest.raises(RuntimeError), Lock(tmp_path / "other"):
        raise RuntimeError
    assert one.path.exists() and Lock(tmp_path / "other").take(wait=False)


def test_a_link_laid_under_its_name_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError):
        Lock(tmp_path / "lock").take()
    assert (tmp_path / "precious").read_text() == "x"
