import pytest
from pydantic import BaseModel, ValidationError

from primum.data.preprocessing import Preprocessing
from primum.data.preprocessing_any import AnyPreprocessing, read_preprocessing
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.preprocessing_table import TablePreprocessing
from primum.errors import InputError


class Holder(BaseModel):
    preprocessing: AnyPreprocessing


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("color: grey\nsize: [8, 8]\n", Preprocessing),
        ("kind: image\n", Preprocessing),
        ("", Preprocessing),
        ("kind: array\nscale: 0.005\n", ArrayPreprocessing),
        ("kind: table\ncolumns:\n- {name: BMI, mean: 28, std: 6}\n- {name: Sex, levels: [F, M]}\n", TablePreprocessing),
    ],
)
def test_a_file_is_read_by_its_kind_and_images_need_none(tmp_path, text, kind):
    (tmp_path / "p.yaml").write_text(text)
    got = read_preprocessing(tmp_path / "p.yaml")
    assert type(got) is kind
    assert Holder.model_validate_json(Holder(preprocessing=got).model_dump_json()).preprocessing == got


def test_a_manifest_from_before_kinds_is_an_image():
    assert Holder.model_validate({"preprocessing": {"color": "rgb"}}).preprocessing == Preprocessing(color="rgb")
    with pytest.raises(ValidationError, match="kind must be image, table or array"):
        Holder.model_validate({"preprocessing": {"kind": "sound"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: sound\n", "kind must be image, table, array"),
        ("kind: array\ncolor: grey\n", "color: Extra inputs"),
        ("scale: high\n", "scale: .*number"),
        ("kind: table\n", "columns: Field required"),
        ("kind: table\ncolumns: [{name: Smoker, levels: [Yes, No]}]\n", r"columns\.0.*quotes around levels"),
        ("- 1\n", "valid dict"),
        ("3\n", "valid dict"),
        ("kind: [\n", "not valid"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_preprocessing(tmp_path / "p.yaml")
    with pytest.raises(InputError, match="cannot read"):
        read_preprocessing(tmp_path / "none.yaml")
