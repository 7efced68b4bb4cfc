import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from primum.errors import InputError, UnsafeInput
from primum.models.onnx_file import check_onnx

WEIGHTS = np.arange(1024, dtype=np.float32).reshape(256, 4)


def external(location):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[256, 4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(WEIGHTS.nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def model(inputs=(("x", TensorProto.FLOAT),), tensor=None, where="initializer"):
    tensor = tensor or numpy_helper.from_array(WEIGHTS, "w")
    values = [helper.make_tensor_value_info(name, kind, ["N", 256]) for name, kind in inputs]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    nodes = [helper.make_node("Cast", [inputs[-1][0]], ["f"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("MatMul", ["f", "w"], ["y"]))
    initializers = [tensor] if where == "initializer" else []
    if where == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    if where == "branch":
        constant = helper.make_node("Constant", [], ["v"], value=tensor)
        shape = helper.make_tensor_value_info("v", TensorProto.FLOAT, [256, 4])
        branch = helper.make_graph([constant], "branch", [], [shape])
        nodes.insert(0, helper.make_node("If", ["yes"], ["w"], then_branch=branch, else_branch=branch))
        initializers = [numpy_helper.from_array(np.array(True), "yes")]
    graph = helper.make_graph(nodes, "g", values, [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def write(tmp_path):
    """Writes a model into a folder with good weights beside it and a secret above it."""
    folder = tmp_path / "models"
    folder.mkdir()
    for path in (folder / "w.bin", tmp_path / "secret.bin"):
        path.write_bytes(WEIGHTS.tobytes())

    def save(content):
        (folder / "m.onnx").write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return folder / "m.onnx"

    return save


def test_names_and_shapes_are_read(write):
    facts = check_onnx(write(model()))
    assert (facts.input_name, facts.input_shape, facts.output_name) == ("x", (None, 256), "y")


@pytest.mark.parametrize("where", ["initializer", "constant", "branch"])
def test_weights_beside_the_model_are_fine(write, where):
    assert check_onnx(write(model(tensor=external("w.bin"), where=where))).output_name == "y"


@pytest.mark.parametrize("where", ["initializer", "constant", "branch"])
@pytest.mark.parametrize("location", ["../secret.bin", "{root}/secret.bin", "x/../../secret.bin", "..\\secret.bin"])
def test_weights_outside_the_folder_are_refused(write, tmp_path, where, location):
    with pytest.raises(UnsafeInput, match=r"m\.onnx: its weights lie outside its folder"):
        check_onnx(write(model(tensor=external(location.format(root=tmp_path)), where=where)))


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_does_not_lead_outside_either(write, tmp_path, link):
    if link == "file":
        (tmp_path / "models" / "l.bin").symlink_to(tmp_path / "secret.bin")
    else:
        (tmp_path / "models" / "l").symlink_to(tmp_path)
    with pytest.raises(UnsafeInput, match="outside its folder"):
        check_onnx(write(model(tensor=external("l.bin" if link == "file" else "l/secret.bin"))))


def test_missing_weights_are_an_input_error(write):
    with pytest.raises(InputError, match=r"m\.onnx"):
        check_onnx(write(model(tensor=external("gone.bin"))))


@pytest.mark.parametrize(
    "content", [b"", b"garbage", bytes(100), b"\x08\x09", b"\x89PNG\r\n\x1a\n", b"PK\x05\x06" + bytes(18)]
)
def test_a_garbage_file_is_an_input_error_in_one_line(write, content):
    with pytest.raises(InputError, match=r"m\.onnx: not an ONNX model that can be read") as caught:
        check_onnx(write(content))
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(InputError):
            check_onnx(path)


@given(data=st.data())
@settings(deadline=None, max_examples=80)
def test_a_damaged_model_loads_or_is_an_input_error(tmp_path_factory, data):
    raw = bytearray(model().SerializeToString())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4)):
        raw[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(raw)
    try:
        assert check_onnx(path).input_name
    except InputError as error:
        assert "damaged.onnx" in str(error)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((("x", TensorProto.INT64),), r"int64"),
        ((("x", TensorProto.FLOAT16),), r"float16"),
        ((("x", TensorProto.UINT8),), r"uint8"),
        ((("a", TensorProto.FLOAT), ("b", TensorProto.FLOAT)), r"'a'.*'b'"),
    ],
)
def test_one_float_input_is_expected(write, inputs, message):
    with pytest.raises(InputError, match=f"one float32 input, found.*{message}"):
        check_onnx(write(model(inputs)))


def test_an_operator_that_no_runtime_knows(write):
    content = model()
    content.graph.node[0].op_type = "Unheard"
    assert onnx.ModelProto.FromString(content.SerializeToString()).graph.node[0].op_type == "Unheard"
    with pytest.raises(InputError, match="not an ONNX model that can be read"):
        check_onnx(write(content))
