import json

import pytest

from primum.artifact.manifest import NAME, SCHEMA_VERSION, read_manifest, write_manifest
from primum.errors import InputError, IntegrityError
from primum.files import sha256


def rewrite(folder, change):
    path = folder / NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_written_is_read_back(artifact, make_manifest):
    got = read_manifest(artifact)
    assert got.model_copy(update={"files": {}}) == make_manifest()
    assert got.files == {name: sha256(artifact / name) for name in ("model/model.onnx", "golden.npz")}
    assert write_manifest(artifact, got) == got, "sealing again changes nothing"


def test_a_file_named_manifest_deeper_down_is_sealed_too(artifact, make_manifest):
    (artifact / "model" / NAME).write_text("{}")
    write_manifest(artifact, make_manifest())
    assert f"model/{NAME}" in read_manifest(artifact).files
    (artifact / "model" / NAME).write_text("{} ")
    with pytest.raises(IntegrityError, match="SHA-256"):
        read_manifest(artifact)


@pytest.mark.parametrize("name", ["model/model.onnx", "golden.npz"])
@pytest.mark.parametrize("at", [0, -1])
def test_one_changed_bit_is_found(artifact, name, at):
    content = bytearray((artifact / name).read_bytes())
    content[at] ^= 1
    (artifact / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{name} does not match its SHA-256; nothing was opened"):
        read_manifest(artifact)


def test_a_missing_file_and_an_extra_one_are_named(artifact):
    (artifact / "model" / "hook.py").write_text("print('run me')")
    with pytest.raises(IntegrityError, match=r"model/hook\.py is not listed"):
        read_manifest(artifact)
    (artifact / "model" / "hook.py").unlink()
    (artifact / "golden.npz").unlink()
    with pytest.raises(IntegrityError, match=r"golden\.npz is missing"):
        read_manifest(artifact)


def test_a_link_is_no_file_of_the_artifact_even_with_the_right_content(artifact, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"graph")
    (artifact / "model" / "model.onnx").unlink()
    (artifact / "model" / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"model/model\.onnx"):
        read_manifest(artifact)


def test_a_folder_that_is_a_link_is_no_folder_of_the_artifact(artifact, tmp_path):
    (artifact / "model").rename(tmp_path / "elsewhere")
    (artifact / "model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"model"):
        read_manifest(artifact)


@pytest.mark.parametrize("link", ["extra", "model/extra"])
@pytest.mark.parametrize("target", ["folder", "nowhere"])
def test_an_extra_link_is_found_wherever_it_leads(artifact, tmp_path, link, target):
    (tmp_path / "folder").mkdir()
    (artifact / link).symlink_to(tmp_path / target)
    with pytest.raises(IntegrityError, match=f"{link} is not listed"):
        read_manifest(artifact)


@pytest.mark.parametrize(
    "name", ["../secret", "{root}/secret", "model/../../secret", "model/../golden.npz", "", "model"]
)
def test_a_listed_path_cannot_leave_the_artifact(artifact, tmp_path, name):
    (tmp_path / "secret").write_bytes(b"graph")
    name = name.format(root=tmp_path)
    rewrite(artifact, lambda m: m["files"].update({name: m["files"]["model/model.onnx"]}))
    with pytest.raises(IntegrityError, match="listed in the manifest; nothing was opened"):
        read_manifest(artifact)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.update(schema_version=SCHEMA_VERSION + 1), "schema_version"),
        (lambda m: m.update(schema_version=0), "schema_version"),
        (lambda m: m.update(guard={"band": 0.1}), "guard"),
        (lambda m: m.pop("threshold"), "threshold"),
        (lambda m: m["signature"].update(task="dream"), "signature.task"),
        (lambda m: m["preprocessing"].update(blur=3), r"preprocessing\.image\.blur"),
        (lambda m: m.update(threshold="high"), "threshold"),
    ],
)
def test_a_manifest_of_another_schema_is_refused_by_name(artifact, change, named):
    rewrite(artifact, change)
    with pytest.raises(IntegrityError, match=f"not a manifest of this version of primum.*{named}"):
        read_manifest(artifact)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json(artifact, content):
    (artifact / NAME).write_bytes(content)
    with pytest.raises(IntegrityError, match="not a manifest"):
        read_manifest(artifact)


def test_a_folder_without_a_manifest_and_no_folder_at_all(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="not an artifact"):
            read_manifest(path)
