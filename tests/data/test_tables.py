import gzip

import pytest

from primum.data import tables
from primum.data.tables import columns_of, read_table
from primum.errors import InputError, MissingExtra, UnsafeInput

TEXT = "id,age,sex\n1, 63 ,F\n2,,M\n"


@pytest.fixture
def csv_file(tmp_path):
    def write(text, name="t.csv"):
        data = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.csv.gz"])
def test_the_wanted_columns_as_stripped_text(csv_file, name):
    got = read_table(csv_file(TEXT, name.lower() if "gz" in name else name), ["sex", "age"])
    assert got.columns == {"sex": ["F", "M"], "age": ["63", ""]} and len(got) == 2
    assert got.at(1) == "line 3"


def test_lines_count_what_is_in_the_file(csv_file):
    got = read_table(csv_file('a,b\n"two\nlines",1\n\nx,2\n'), ["a"])
    assert got.columns["a"] == ["two\nlines", "x"] and [got.at(i) for i in range(2)] == ["line 3", "line 5"]


def test_a_row_that_ends_early_has_blanks(csv_file):
    assert read_table(csv_file("a,b\n1\n"), ["a", "b"]).columns == {"a": ["1"], "b": [""]}


def test_a_missing_column_is_named_with_some_of_those_there(csv_file):
    wide = ",".join(f"gene{i}" for i in range(20_000)) + "\n"
    with pytest.raises(InputError, match=r"no column 'TP53'; it has gene0, .*gene29 and 19970 more") as caught:
        read_table(csv_file(wide), ["TP53"], "; hint")
    assert str(caught.value).endswith("; hint") and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv.gz", b"not gzip"),
        ("t.csv", b"a\n\xff\xfe\n"),
        ("t.csv", b'a\n"open\n'),
        ("t.csv", b"a\n" + b"x" * 200_000 + b"\n"),
    ],
)
def test_damaged_tables_are_input_errors(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_table(tmp_path / name, ["a"])


def test_a_gzip_cut_short_is_an_input_error(csv_file):
    path = csv_file(TEXT * 100, "t.csv.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_table(path, ["id"])


@pytest.mark.parametrize("line", ["1\n", "x" * 5000])
def test_a_gzip_that_swells_is_not_read_to_its_end(csv_file, monkeypatch, line):
    monkeypatch.setattr(tables, "MAX_TEXT", 2000)
    with pytest.raises(UnsafeInput, match="not read to its end"):
        read_table(csv_file("a\n" + line * 2000, "t.csv.gz"), ["a"])


def test_parquet_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'primum\[tables\]'"):
        read_table(tmp_path / "t.parquet", ["a"])


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    columns = {"age": [63.5, None, float("nan")], "n": [1, 2, 3], "sex": ["F", " M ", None], "ok": [True, False, None]}
    parquet.write_table(pyarrow.table({**columns, "list": [[1], [2], []]}), path)
    got = read_table(path, ["age", "n", "sex", "ok"])
    assert got.columns == {
        "age": ["63.5", "", ""],
        "n": ["1", "2", "3"],
        "sex": ["F", "M", ""],
        "ok": ["True", "False", ""],
    }
    assert got.at(2) == "row 3"
    with pytest.raises(InputError, match="no column 'bmi'; it has age"):
        read_table(path, ["bmi"])
    with pytest.raises(InputError, match="'list' holds list values"):
        read_table(path, ["list"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_table(path, ["age"])


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_the_names_of_all_columns(csv_file, name):
    assert columns_of(csv_file(TEXT, name)) == ["id", "age", "sex"] and columns_of(csv_file("")) == []
    with pytest.raises(InputError, match="cannot be read as CSV"):
        columns_of(csv_file(b"\xff\xfe\n"))


def test_the_names_of_the_columns_of_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"a": [1], "b, c": ["x"]}), tmp_path / "t.parquet")
    assert columns_of(tmp_path / "t.parquet") == ["a", "b, c"]
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        columns_of(tmp_path / "bad.parquet")
