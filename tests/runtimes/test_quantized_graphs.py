"""8- and 4-bit graphs on both runtimes: what is rounded, what is spared, what is refused, and what really runs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import quantized
import torch
from torch import nn

from primum.artifact.predictor import Session
from primum.errors import InputError, TrialError
from primum.hardware.machine import this_machine
from primum.models.signature import Signature
from primum.runtimes.base import WEIGHTS_ONLY, BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx
from primum.runtimes.facts import GraphFacts, infeasible, read_facts
from primum.runtimes.nodes import nodes_of, weighted_modules
from primum.runtimes.products import attention

SHAPES = {"prepared": (1, 16, 16), "encoder": (16, 24), "recurrent": (12, 24), "fake": (1, 16, 16)}
INT8 = ("onnxruntime", "openvino")


class Case:
    """A network, its export, inputs of varying brightness, and what torch says of them."""

    def __init__(self, net: nn.Module, shape: tuple[int, ...], folder: Path, products: bool = False) -> None:
        self.signature = Signature(input_shape=shape, outputs=2, classes=("a", "b"), activation="softmax")
        self.onnx = folder / "net.onnx"
        self.notes = export_onnx(net, shape, self.onnx, products)
        noise = np.random.default_rng(0)
        spread = noise.uniform(0.3, 3, (48, *[1] * len(shape))) + noise.normal(0, 1, (48, *shape))
        self.inputs = (noise.normal(0, 1, (48, *shape)) * spread).astype(np.float32)
        with torch.inference_mode():
            self.expected = net(torch.from_numpy(self.inputs)).numpy()

    def build(self, target: Target, folder: Path) -> tuple[tuple[str, ...], Session]:
        runtime = get_runtime(target.runtime)
        folder.mkdir(parents=True, exist_ok=True)
        notes = runtime.build(BuildSource(self.signature, None, self.onnx, self.inputs), target, folder)
        return notes, runtime.open(folder, target, None)

    def error(self, session: Session) -> float:
        found = np.concatenate([session.run(self.inputs[i : i + 1]) for i in range(len(self.inputs))])
        return float(np.linalg.norm(found - self.expected) / np.linalg.norm(self.expected - self.expected.mean(0)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Case:
    return Case(quantized.prepared(), SHAPES["prepared"], tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Case:
    return Case(quantized.encoder(), SHAPES["encoder"], tmp_path_factory.mktemp("encoder"))


def target(runtime: str, precision: str = "int8", **more: object) -> Target:
    return Target(runtime=runtime, precision=precision, threads=1, **more)


@pytest.mark.parametrize("runtime", INT8)
def test_extremes_of_all_cases_are_better_than_means_of_extremes(runtime, prepared, tmp_path):
    _, best = prepared.build(target(runtime), tmp_path / "a")
    _, clipped = prepared.build(target(runtime, ranges="mean"), tmp_path / "b")
    assert prepared.error(best) < 0.7 * prepared.error(clipped)


@pytest.mark.parametrize(
    ("runtime", "ranges"),
    [("onnxruntime", "entropy"), ("onnxruntime", "percentile"), ("openvino", "percentile"), ("openvino", "histogram")],
)
def test_other_ranges_follow_the_original(runtime, ranges, prepared, tmp_path):
    _, session = prepared.build(target(runtime, ranges=ranges), tmp_path)
    _, plain = prepared.build(target(runtime), tmp_path / "minmax")
    assert 0 < prepared.error(session) < 0.4
    assert prepared.error(session) != prepared.error(plain)


def test_entropy_cuts_what_few_values_reach_and_leaves_sparse_tensors_alone(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 2)
    )
    case = Case(net.eval(), (1, 16, 16), tmp_path)
    case.inputs[0, 0, 3, 3], case.inputs[30, 0, 9, 9] = 60.0, -80.0

    def scales(ranges: str) -> tuple[dict[str, float], tuple[str, ...]]:
        notes, _ = case.build(target("onnxruntime", ranges=ranges), tmp_path / ranges)
        graph = onnx.load(tmp_path / ranges / "model.onnx").graph
        held = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
        rounded = [n for n in graph.node if n.op_type == "QuantizeLinear" and held[n.input[1]].ndim == 0]
        return {n.input[0]: float(held[n.input[1]]) for n in rounded}, notes

    extremes, plain = scales("minmax")
    cut, notes = scales("entropy")
    assert extremes.keys() == cut.keys() and len(cut) == 4
    assert all(cut[name] < 0.5 * extremes[name] for name in cut), (extremes, cut)
    assert "ranges of 1 of" in " ".join(notes) and "extremes" not in " ".join(plain), notes


def test_bias_correction_changes_the_graph(prepared, tmp_path):
    _, plain = prepared.build(target("openvino"), tmp_path / "a")
    _, corrected = prepared.build(target("openvino", bias_correction=True), tmp_path / "b")
    assert prepared.error(plain) != prepared.error(corrected) < 0.4


def test_ranges_around_zero_follow_the_network_too(prepared, tmp_path):
    _, plain = prepared.build(target("openvino"), tmp_path / "a")
    _, around = prepared.build(target("openvino", symmetric=True), tmp_path / "b")
    assert prepared.error(plain) != prepared.error(around) < 0.4


def test_a_histogram_that_numpy_refuses_is_a_failed_trial_with_a_way_out(prepared, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Too many bins for data range. Cannot create 128 finite-sized bins.")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", refuse)
    with pytest.raises(TrialError, match="Too many bins.*minmax"):
        prepared.build(target("onnxruntime", ranges="entropy"), tmp_path)


def test_preparation_in_the_graph_and_the_answer_stay_in_floats(prepared, tmp_path):
    notes, _ = prepared.build(target("onnxruntime"), tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    assert makers[graph.output[0].name].op_type == "Gemm"
    assert "the answer itself is not rounded" in notes
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in makers)
    before = makers[first.input[0]]
    assert before.op_type == "Div", "the first rounding is that of what enters the first convolution"


@pytest.mark.parametrize("runtime", INT8)
def test_excluded_layers_keep_floats(runtime, prepared, tmp_path):
    def proof(exclude: tuple[str, ...], folder: str) -> str:
        notes, session = prepared.build(target(runtime, exclude=exclude), tmp_path / folder)
        return " ".join([*notes, *session.proven.notes])

    # ONNX Runtime's 8-bit convolution gives 8 bits: the one before an excluded layer runs in floats too.
    assert "3 of 3" in proof((), "all")
    assert ("2 of 3" if runtime == "openvino" else "1 of 3") in proof(("body",), "one")
    assert "1 of 3" in proof(("stem", "head"), "two")


class Chain(nn.Module):
    """(N, 1, 16, 16) to 2 logits through rectified convolutions with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.a(x))
        return self.head(torch.relu(self.c(torch.relu(self.b(first))) + first).mean((2, 3)))


@pytest.mark.parametrize("runtime", INT8)
def test_excluding_a_layer_never_makes_the_rest_wrong(runtime, tmp_path):
    """Rectifiers included: what enters an excluded layer is what the network computes, not a rounded stand-in."""
    torch.manual_seed(0)
    case = Case(Chain().eval(), (1, 16, 16), tmp_path)
    _, session = case.build(target(runtime), tmp_path / "all")
    everything = case.error(session)
    for exclude in (("a",), ("b",), ("c",), ("head",), ("b", "c"), ("a", "b", "c")):
        _, session = case.build(target(runtime, exclude=exclude), tmp_path / "-".join(exclude))
        assert case.error(session) < 1.3 * everything, exclude


@pytest.mark.parametrize("runtime", INT8)
def test_an_unknown_layer_is_refused_with_near_names(runtime, prepared, tmp_path):
    with pytest.raises(InputError, match=r"'bodi'.*did you mean body"):
        prepared.build(target(runtime, exclude=("bodi",)), tmp_path)


def test_layers_are_named_as_in_torch(prepared, encoder):
    assert set(weighted_modules(onnx.load(prepared.onnx))) == {"stem.0", "body", "head"}
    names = set(weighted_modules(onnx.load(encoder.onnx)))
    linear = {name for name, module in quantized.encoder().named_modules() if isinstance(module, nn.Linear)}
    assert names == linear
    assert len(nodes_of(onnx.load(encoder.onnx), ("layers.0",))) == 6


@pytest.mark.parametrize(
    ("runtime", "precision", "tolerance"),
    [
        ("onnxruntime", "int8-weights", 0.06),
        ("onnxruntime", "int4-weights", 0.5),
        ("openvino", "int8-weights", 0.06),
        ("openvino", "int4-weights", 0.5),
        ("openvino", "nf4-weights", 0.5),
    ],
)
def test_compressed_weights_follow_and_are_read_back(runtime, precision, tolerance, encoder, tmp_path):
    notes, session = encoder.build(target(runtime, precision), tmp_path)
    assert 1e-4 < encoder.error(session) < tolerance
    proof = " ".join([*notes, *session.proven.notes])
    # In blocks of 32 NNCF leaves the embedding's rows of 24 alone.
    few = runtime == "openvino" and precision != "int8-weights"
    assert f"{13 if few else 14} of 14" in proof, proof
    whole = encoder.onnx.stat().st_size
    stored = sum(p.stat().st_size for p in tmp_path.iterdir() if p.suffix in (".onnx", ".bin"))
    assert stored < (0.55 if precision == "int8-weights" else 0.35) * whole


@pytest.mark.parametrize(("runtime", "left"), [("onnxruntime", 8), ("openvino", 7)])
def test_compressed_weights_spare_excluded_layers(runtime, left, encoder, tmp_path):
    notes, session = encoder.build(target(runtime, "int4-weights", exclude=("layers.0",)), tmp_path)
    assert f"{left} of 14" in " ".join([*notes, *session.proven.notes])
    assert 0 < encoder.error(session) < 0.5


@pytest.mark.parametrize("runtime", INT8)
def test_there_is_nothing_to_compress_in_convolutions(runtime, tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 14)).eval()
    path = tmp_path / "conv.onnx"
    export_onnx(nn.Sequential(net, nn.Flatten()).eval(), (1, 16, 16), path)
    source = BuildSource(
        Signature(input_shape=(1, 16, 16), outputs=2, classes=("a", "b"), activation="softmax"),
        None,
        path,
        np.zeros((2, 1, 16, 16), np.float32),
    )
    for precision in set(WEIGHTS_ONLY) & set(get_runtime(runtime).precisions):
        with pytest.raises(TrialError, match="4-bit convolutions do not exist on CPU"):
            get_runtime(runtime).build(source, target(runtime, precision), tmp_path)
        assert "no matrix product" in str(infeasible(target(runtime, precision), read_facts(path)))


@pytest.mark.parametrize(
    ("layer", "refused"),
    [((128, 1), WEIGHTS_ONLY), ((30, 64), ("int4-weights", "nf4-weights")), ((128, 2), ()), ((64, 16), ())],
)
def test_what_openvino_cannot_compress_is_known_beforehand(layer, refused, tmp_path):
    path = tmp_path / "product.onnx"
    export_onnx(nn.Sequential(nn.Linear(*layer)).eval(), layer[:1], path)
    facts = read_facts(path)
    assert facts.product_shapes == (layer,)
    signature = Signature(
        input_shape=layer[:1], outputs=layer[1], task="regression", activation="identity",
        classes=tuple(map(str, range(layer[1]))),
    )  # fmt: skip
    source = BuildSource(signature, None, path, np.zeros((4, *layer[:1]), np.float32))
    for precision in ("int8-weights", "int4-weights"):
        asked, out = target("openvino", precision), tmp_path / precision
        assert bool(infeasible(asked, facts)) == (precision in refused)
        out.mkdir()
        if precision not in refused:
            get_runtime("openvino").build(source, asked, out)
            get_runtime("openvino").open(out, asked, None).close()


def test_what_is_infeasible_is_known_beforehand():
    facts = GraphFacts(convolutions=3, products=1)
    assert infeasible(target("onnxruntime"), facts) is None
    assert infeasible(target("openvino", "int4-weights"), facts) is None
    assert "quantized already" in str(
        infeasible(target("openvino", "int4-weights"), GraphFacts(products=1, quantized=True))
    )
    assert "quantized already" in str(infeasible(target("onnxruntime", "int8-dynamic"), GraphFacts(1, quantized=True)))
    assert "attention" in str(infeasible(target("onnxruntime", fused_attention=True), facts))
    assert infeasible(target("onnxruntime"), GraphFacts(lstms=1)) is not None
    assert infeasible(target("onnxruntime", "int8-dynamic"), GraphFacts(lstms=1)) is None


@pytest.mark.parametrize(("kind", "said"), [(nn.LSTM, "1 of 1 LSTM with 8-bit"), (nn.GRU, "1 GRU or RNN stay in FP32")])
def test_recurrences_in_dynamic_int8(kind, said, tmp_path):
    case = Case(quantized.recurrent(kind), SHAPES["recurrent"], tmp_path)
    notes, session = case.build(target("onnxruntime", "int8-dynamic"), tmp_path / "built")
    assert said in " ".join(notes)
    assert "run in INT8" in notes[-1] and "recurrences" in notes[-1]
    assert 0 < case.error(session) < 0.15


@pytest.mark.parametrize("runtime", INT8)
@pytest.mark.parametrize("low", [-127, -128])
def test_a_network_trained_for_int8_runs_as_it_is(runtime, low, tmp_path):
    case = Case(quantized.fake_quantized(low), SHAPES["fake"], tmp_path)
    kinds = [node.op_type for node in onnx.load(case.onnx).graph.node]
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == 7
    notes, session = case.build(target(runtime), tmp_path / "built")
    assert "the export is quantized already and runs as it is" in notes
    proof = " ".join([*notes, *session.proven.notes])
    assert "3 of 3" in proof or "2 of 3" in proof, proof
    saturates = runtime == "onnxruntime" and "vnni" not in this_machine().features
    assert saturates == ("may saturate" in " ".join(notes))
    assert saturates or case.error(session) < 0.05
    with pytest.raises(InputError, match="quantized already"):
        case.build(target(runtime, exclude=("conv",)), tmp_path / "again")


def test_attention_written_as_products_fuses_and_says_so(encoder, tmp_path):
    notes, session = encoder.build(target("onnxruntime", "fp32", fused_attention=True), tmp_path)
    assert any(note.startswith("fused: 2 Attention") for note in notes)
    assert encoder.error(session) < 1e-4


def test_attention_that_does_not_fuse_keeps_the_plain_graph(tmp_path):
    case = Case(quantized.encoder(products=False), SHAPES["encoder"], tmp_path)
    notes, session = case.build(target("onnxruntime", "fp32", fused_attention=True), tmp_path / "built")
    assert "no attention block could be fused: the plain graph is used" in notes
    assert case.error(session) < 1e-4


def test_torchs_own_function_fuses_where_it_is_exported_as_products(tmp_path):
    case = Case(quantized.encoder(products=False), SHAPES["encoder"], tmp_path, products=True)
    notes, session = case.build(target("onnxruntime", "fp32", fused_attention=True), tmp_path / "built")
    assert any(note.startswith("fused: 2 Attention") for note in notes)
    assert case.error(session) < 1e-4


@pytest.mark.parametrize("masked", ["none", "bool", "float", "causal", "scale"])
def test_products_are_the_function_that_torch_computes(masked):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, 6, 8, generator=generator) for _ in range(3))
    seen = torch.rand(6, 6, generator=generator) > 0.3
    seen.fill_diagonal_(True)
    settings = {
        "none": {},
        "bool": {"attn_mask": seen},
        "float": {"attn_mask": torch.randn(6, 6, generator=generator)},
        "causal": {"is_causal": True},
        "scale": {"scale": 0.3},
    }[masked]
    own = nn.functional.scaled_dot_product_attention(q, k, v, **settings)
    torch.testing.assert_close(attention(q, k, v, **settings), own, atol=1e-5, rtol=1e-5)


def test_of_attention_only_products_are_rounded(encoder, tmp_path):
    notes, session = encoder.build(target("onnxruntime"), tmp_path)
    assert "attention: products alone are quantized" in notes
    assert encoder.error(session) < 0.2
    graph = onnx.load(tmp_path / "model.onnx").graph
    rounded = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    assert not any(n.op_type == "Erf" and n.input[0] in rounded for n in graph.node)
