"""Attention split into plain linear layers computes what torch's own does, under every mask."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import fx, nn

from primum.errors import InputError
from primum.models.attention import SplitAttention, split_attention

KINDS = st.sampled_from([None, "bool", "float"])


def mask_of(kind, shape, generator):
    """A mask that leaves something to be seen in every row."""
    if kind is None:
        return None
    hidden = torch.rand(shape, generator=generator) < 0.4
    hidden[..., 0] = False
    return hidden if kind == "bool" else torch.randn(shape, generator=generator).masked_fill(hidden, -torch.inf)


@st.composite
def attentions(draw):
    """An attention, its inputs, and everything that its forward function takes."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    torch.manual_seed(draw(st.integers(0, 9999)))
    cases, heads, length = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3])), draw(st.integers(1, 5))
    itself, batched, first = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    seen = length if itself else draw(st.integers(1, 5))
    cases = cases if batched else 1
    attention = nn.MultiheadAttention(heads * 4, heads, bias=draw(st.booleans()), batch_first=first)
    for p in attention.parameters():
        nn.init.normal_(p, std=0.4)
    shape = [(cases, n, heads * 4) if first else (n, cases, heads * 4) for n in (length, seen)]
    q, k, v = (
        torch.randn(s if batched else (n, heads * 4), generator=g)
        for s, n in zip((shape[0], shape[1], shape[1]), (length, seen, seen))
    )
    wide = draw(st.booleans())
    masks = {
        "attn_mask": mask_of(draw(KINDS), (cases * heads, length, seen) if wide else (length, seen), g),
        "key_padding_mask": mask_of(draw(KINDS), (cases, seen) if batched else (seen,), g),
    }
    more = {"need_weights": draw(st.booleans()), "average_attn_weights": draw(st.booleans())}
    return attention, ((q, q, q) if itself else (q, k, v)), masks | more


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@given(attentions())
@settings(max_examples=300, deadline=None)
def test_an_attention_is_the_same_under_all_masks_with_its_weights_and_gradients(made):
    attention, inputs, given_masks = made
    for training in (False, True):
        own = attention.train(training)
        split = split_attention(copy.deepcopy(own))[0]
        asked = [t.clone().requires_grad_() for t in inputs[:1]] * 3 if inputs[0] is inputs[1] else list(inputs)
        wanted, found = own(*asked, **given_masks), split(*asked, **given_masks)
        torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=1e-4)
        assert (found[1] is None) == (wanted[1] is None)
        if wanted[1] is not None:
            torch.testing.assert_close(found[1], wanted[1], atol=1e-5, rtol=1e-4)
        own.zero_grad()
        wanted[0].square().sum().backward()
        found[0].square().sum().backward()
        packed = torch.cat([split.query.weight.grad, split.key.weight.grad, split.value.weight.grad])
        torch.testing.assert_close(packed, own.in_proj_weight.grad, atol=1e-4, rtol=1e-3)
    with torch.no_grad():  # torch takes its fused path here
        wanted = attention.eval()(*inputs, **given_masks)[0]
        torch.testing.assert_close(split.eval()(*inputs, **given_masks)[0], wanted, atol=1e-5, rtol=1e-4)


@st.composite
def encoders(draw):
    """An encoder, what goes in, and masks whose padding stands at the end or anywhere."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    torch.manual_seed(draw(st.integers(0, 9999)))
    heads, cases, length, first = draw(st.sampled_from([1, 2])), 3, draw(st.integers(2, 6)), draw(st.booleans())
    layer = nn.TransformerEncoderLayer(
        heads * 4, heads, 12, activation=draw(st.sampled_from(["relu", "gelu"])), batch_first=first,
        norm_first=draw(st.booleans()), bias=draw(st.booleans()), dropout=0.0,
    )  # fmt: skip
    norm = nn.LayerNorm(heads * 4) if draw(st.booleans()) else None
    net = nn.TransformerEncoder(layer, 2, norm=norm, enable_nested_tensor=draw(st.booleans()))
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    kind, where = draw(KINDS), draw(st.sampled_from(["end", "anywhere"]))
    padding = mask_of(kind, (cases, length), g)
    if padding is not None and where == "end":
        at_end = torch.arange(length) >= torch.randint(1, length + 1, (cases, 1), generator=g)
        padding = at_end if kind == "bool" else torch.zeros(cases, length).masked_fill(at_end, -torch.inf)
    causal = draw(st.booleans())
    if causal:
        mask = nn.Transformer.generate_square_subsequent_mask(length)
    else:
        mask = mask_of(draw(KINDS), (length, length), g)
    hint = draw(st.sampled_from([True, None])) if causal else draw(st.sampled_from([False, None]))
    x = torch.randn((cases, length, heads * 4) if first else (length, cases, heads * 4), generator=g)
    return net, x, {"mask": mask, "src_key_padding_mask": padding, "is_causal": hint}


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@given(encoders())
@settings(max_examples=200, deadline=None)
def test_an_encoder_is_the_same_under_all_masks_in_training_and_in_evaluation(made):
    net, x, given_masks = made
    split, stays = split_attention(copy.deepcopy(net))
    assert not stays and not any(isinstance(m, nn.MultiheadAttention) for m in split.modules())
    torch.testing.assert_close(
        split.train()(x, **given_masks), net.train()(x, **given_masks), atol=2e-5, rtol=1e-3, equal_nan=True
    )
    split.eval(), net.eval()
    padding = given_masks["src_key_padding_mask"]
    # torch's fused path takes every float but 0 for "not to be seen", against its own documentation.
    fused = all(m is None or m.dtype == torch.bool or set(m.unique().tolist()) <= {0.0, -torch.inf}
                for m in (given_masks["mask"], padding))  # fmt: skip
    assume(fused or not net.use_nested_tensor)
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        for case in range(3):  # by itself: torch looks whether all cases of a batch are padded at their ends
            part = slice(case, case + 1)
            alone = given_masks | {"src_key_padding_mask": None if padding is None else padding[part]}
            one = x[part] if net.layers[0].self_attn.batch_first else x[:, part]
            with torch.no_grad():
                torch.testing.assert_close(split(one, **alone), net(one, **alone), atol=2e-5, rtol=1e-3)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_padded_positions_are_empty_as_in_torch_whatever_pools_them():
    torch.manual_seed(0)
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x, padding = torch.randn(2, 5, 8), torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    with torch.no_grad():
        wanted = net(x, src_key_padding_mask=padding)
        assert float(wanted[0, 3:].abs().max()) == 0.0
        torch.testing.assert_close(split_attention(net)[0](x, src_key_padding_mask=padding), wanted)


def test_a_trace_of_it_knows_masks_that_it_has_not_seen():
    torch.manual_seed(0)
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    graph = fx.symbolic_trace(split_attention(net)[0], concrete_args={"mask": None, "is_causal": None})
    again = split_attention(net)[0]
    x = torch.randn(2, 5, 8)
    for padding in (torch.tensor([[0, 0, 0, 1, 1], [0] * 5]).bool(), torch.tensor([[1, 0, 0, 0, 0], [0] * 5]).bool()):
        torch.testing.assert_close(graph(x, None, padding, None), again(x, src_key_padding_mask=padding))


def test_decoders_go_on_with_the_split_attention():
    torch.manual_seed(0)
    net = nn.Transformer(8, 2, 1, 2, 16, batch_first=True).eval()
    src, tgt = torch.randn(2, 5, 8), torch.randn(2, 4, 8)
    padding = torch.tensor([[0, 0, 0, 1, 1], [0] * 5]).bool()
    more = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding,
            "tgt_mask": nn.Transformer.generate_square_subsequent_mask(4)}  # fmt: skip
    with torch.no_grad():
        wanted = net(src, tgt, **more)
        made = split_attention(net)[0]
        assert sum(isinstance(m, SplitAttention) for m in made.modules()) == 5
        torch.testing.assert_close(made(src, tgt, **more), wanted, atol=1e-5, rtol=1e-4)


class Own(nn.TransformerEncoderLayer):
    """Does more than torch's layer, by way of torch's forward function."""

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        return 2 * super().forward(src, src_mask, src_key_padding_mask, is_causal)


class OwnEncoder(nn.TransformerEncoder):
    """As above, for the whole encoder."""

    def forward(self, src, **more):
        return 2 * super().forward(src, **more)


@pytest.mark.parametrize("kind", [nn.TransformerEncoder, OwnEncoder])
@pytest.mark.parametrize("layer", [nn.TransformerEncoderLayer, Own])
def test_layers_with_a_forward_function_of_their_own_keep_it(kind, layer):
    torch.manual_seed(0)
    net = kind(layer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False).eval()
    x, padding = torch.randn(2, 5, 8), torch.tensor([[0, 1, 0, 1, 1], [0] * 5]).bool()
    with torch.no_grad():
        wanted = net(x, src_key_padding_mask=padding)
        torch.testing.assert_close(
            split_attention(net)[0](x, src_key_padding_mask=padding), wanted, atol=1e-5, rtol=1e-4
        )


def test_a_layer_that_is_used_twice_is_one_layer_still():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(layer, nn.Tanh(), layer).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        wanted = net(x)
        made = split_attention(net)[0]
        assert made[0] is made[2]
        torch.testing.assert_close(made(x), wanted, atol=1e-5, rtol=1e-4)


def test_type_and_frozen_weights_are_kept():
    attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64).requires_grad_(False)
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    wanted = attention(x, x, x)[0]
    made = split_attention(attention)[0]
    assert not any(p.requires_grad for p in made.parameters())
    torch.testing.assert_close(made(x, x, x)[0], wanted)


def test_an_attention_of_another_kind_stays_and_is_named():
    holder = nn.Module()
    holder.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=4)
    made, stays = split_attention(holder)
    assert isinstance(made.cross, nn.MultiheadAttention) and "cross stays in FP32" in stays[0]


@pytest.mark.parametrize(
    ("masks", "why"),
    [
        ({"key_padding_mask": torch.zeros(5, 2, dtype=torch.bool)}, r"key_padding_mask has the shape \(5, 2\)"),
        ({"attn_mask": torch.zeros(2, 3, 5)}, r"attn_mask has the shape .* or \(4, 3, 5\)"),
        ({"attn_mask": torch.zeros(3, 5, dtype=torch.int64)}, "attn_mask has the type"),
        ({"is_causal": True}, "give the mask itself"),
    ],
)
def test_masks_that_fit_nothing_are_refused_in_words(masks, why):
    made, _ = split_attention(nn.MultiheadAttention(8, 2, batch_first=True))
    q, k = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    with pytest.raises(InputError, match=why):
        made(q, k, k, **masks)
