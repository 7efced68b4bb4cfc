"""The operator's file: what it may say, and what becomes of it."""

import inline
import pytest

from primum.serving.studies.offered import read_studies


def test_options_become_arguments(tmp_path):
    (tmp_path / "studies.yaml").write_text(
        "out: o\nstudies: {a: {model: 'x:y', data: d, deliver: [openvino, onnxruntime], independent: true,\n"
        "  margin: -1, skip_bad_files: false}}"
    )
    found = read_studies(tmp_path / "studies.yaml")
    assert found.base == tmp_path and found.out == tmp_path / "o"
    assert found.by_name["a"].arguments == (
        *("--model=x:y", "--data=d", "--deliver=openvino", "--deliver=onnxruntime", "--independent", "--margin=-1"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out: o\nstudies: {a: {model: 'x:y', data: d, bogus: 1}}", "study 'a': No such option"),
        ("out: o\nstudies: {a: {model: 'x:y'}}", "study 'a': Missing"),
        ("out: o\nstudies: {a: {model: 'x:y', data: d, threads: many}}", "study 'a'"),
        ("out: o\nstudies: {../a: {model: 'x:y', data: d}}", "names a folder"),
        ("out: o\nstudies: {a: {model: 'x:y', data: d, level: minimal}}", "not the file's to say"),
        ("out: o\nstudies: {}", "studies"),
        ("studies: {a: {model: 'x:y', data: d}}", "out"),
        ("- 1", "valid"),
    ],
)
def test_a_file_of_studies_that_cannot_be_used(artifact, tmp_path, text, said):
    (tmp_path / "studies.yaml").write_text(text)
    done = inline.primum("serve", f"risk={artifact}", "--studies", tmp_path / "studies.yaml")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
