"""Attention with and without padding masks becomes single operators of ONNX Runtime, and answers as torch does."""

import math

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from primum.runtimes.verbs import create_onnx_session, export_to_onnx

LENGTH, WIDTH, HEADS = 10, 16, 4


class Bert(nn.Module):
    """Written by hand, on token ids; 0 is padding."""

    def __init__(self, masked: bool, given: bool = False, torchs: bool = False):
        super().__init__()
        self.embed, self.at, self.head = nn.Embedding(30, WIDTH), nn.Embedding(LENGTH, WIDTH), nn.Linear(WIDTH, 2)
        self.layers = nn.ModuleList(Layer(torchs) for _ in range(2))
        self.masked, self.given = masked, given

    def forward(self, ids, seen=None):
        x = self.embed(ids.long()) + self.at(torch.arange(ids.shape[1]))[None]
        mask = None
        if self.masked:
            keep = (ids != 0).float() if seen is None else seen.float()
            mask = (1.0 - keep)[:, None, None, :] * -1e4
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(x[:, 0])


class Layer(nn.Module):
    def __init__(self, torchs: bool):
        super().__init__()
        self.q, self.k, self.v, self.o, self.f = (nn.Linear(WIDTH, WIDTH) for _ in range(5))
        self.first, self.second, self.torchs = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), torchs

    def forward(self, x, mask):
        q, k, v = (p(x).view(*x.shape[:2], HEADS, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        if self.torchs:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, None if mask is None else mask == 0)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            mixed = (scores if mask is None else scores + mask).softmax(-1) @ v
        x = self.first(x + self.o(mixed.transpose(1, 2).reshape(x.shape)))
        return self.second(x + nn.functional.gelu(self.f(x)))


class Torchs(nn.Module):
    """torch's own encoder on token ids, batch or sequence first."""

    def __init__(self, masked: bool, batch_first: bool, norm_first: bool = False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=batch_first, norm_first=norm_first)
        self.embed, self.widen, self.head = nn.Embedding(30, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.masked, self.turned = masked, not batch_first

    def forward(self, ids):
        x = self.widen(self.embed(ids.long()))
        padding = ids == 0 if self.masked else None
        out = self.encoder(x.transpose(0, 1) if self.turned else x, src_key_padding_mask=padding)
        return self.head((out.transpose(0, 1) if self.turned else out).mean(1))


NETS = {
    "bert": lambda: Bert(False),
    "bert masked": lambda: Bert(True),
    "bert with a mask given": lambda: Bert(True, given=True),
    "batch first": lambda: Torchs(False, True),
    "batch first masked": lambda: Torchs(True, True),
    "norm first masked": lambda: Torchs(True, True, norm_first=True),
    "sequence first": lambda: Torchs(False, False),
    "sequence first masked": lambda: Torchs(True, False),
    "sequence and norm first masked": lambda: Torchs(True, False, norm_first=True),
}


@pytest.mark.parametrize("name", NETS)
def test_attention_is_fused_and_follows_random_masks(name, tmp_path):
    torch.manual_seed(1)
    net = NETS[name]().eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.4)
    ids = torch.randint(1, 30, (6, LENGTH))
    padded = ids.clone()
    padded[torch.rand(6, LENGTH) < 0.5] = 0  # anywhere, not only at the end
    padded[:3, 7:], padded[:, 0] = 0, 1
    padded[:2, :7] = ids[:2, :7]
    given = getattr(net, "given", False)
    feed = (ids, (padded != 0).long()) if given else (padded,)
    written = export_to_onnx(net, tuple(t[:2] for t in feed), tmp_path / "net.onnx")
    kinds = [node.op_type for node in onnx.load(written.optimized).graph.node]
    assert kinds.count("Attention") + kinds.count("MultiHeadAttention") == 2, written.notes
    assert any(note.startswith("fused: 2") for note in written.notes)
    assert "Softmax" not in kinds
    session = create_onnx_session(written.optimized)
    for case in range(6):
        one = tuple(t[case : case + 1] for t in feed)
        with torch.no_grad():
            wanted = net(*one).numpy()
        feeds = {entry.name: t.numpy() for entry, t in zip(session.get_inputs(), one)}
        np.testing.assert_allclose(session.run(None, feeds)[0], wanted, atol=2e-5, rtol=1e-4)


class Causal(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x):
        mask = torch.triu(torch.ones(LENGTH, LENGTH), 1).bool()
        return self.encoder(x, mask=mask).mean(1)


@pytest.mark.parametrize(
    ("net", "given"),
    [
        (Causal(), torch.randn(2, LENGTH, WIDTH)),
        (Bert(True, torchs=True), torch.tensor([[3] * 6 + [0] * 4, [5] * LENGTH])),
    ],
)
def test_what_cannot_be_fused_is_said_and_answers_all_the_same(net, given, tmp_path):
    written = export_to_onnx(net.eval(), given, tmp_path / "net.onnx")
    session = create_onnx_session(written.optimized)
    with torch.no_grad():
        wanted = net(given).numpy()
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: given.numpy()})[0], wanted, atol=1e-5)
    assert written.notes[-1] == "no attention block could be fused: the plain graph is used"
    assert "Softmax" in [node.op_type for node in onnx.load(written.optimized).graph.node]
