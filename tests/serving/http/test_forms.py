"""Files of a form: what went in comes out in order, and damage is refused."""

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pictures import form

from primum.errors import InputError
from primum.serving.http.forms import files_of


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=6))
def test_what_went_in_comes_out(files):
    body, headers = form(*files)
    assert files_of(body, headers["Content-Type"], 6) == files


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=3), st.integers(5, 400))
def test_a_form_cut_short_is_refused(files, cut):
    body, headers = form(*files)
    assume(cut < len(body))
    with pytest.raises(InputError):
        files_of(body[:-cut], headers["Content-Type"], 3)


@given(st.binary(max_size=300), st.text(st.characters(codec="latin-1"), max_size=80))
def test_anything_else_is_refused_or_read(body, kind):
    for content_type in (kind, f"multipart/form-data; boundary={kind}", 'multipart/form-data; boundary="x"'):
        with suppress(InputError):
            files_of(body, content_type, 3)


def test_no_more_files_than_allowed():
    body, headers = form(b"a", b"b", b"c")
    with pytest.raises(InputError, match="more than 2"):
        files_of(body, headers["Content-Type"], 2)
