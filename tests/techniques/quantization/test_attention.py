"""Attention split into plain linear layers computes what torch's own does."""

import pytest
import torch
from torch import nn

from primum.techniques.quantization.attention import split_attention


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_an_encoder_is_the_same(norm_first, batch_first, bias):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        16, 4, 24, activation="gelu", batch_first=batch_first, norm_first=norm_first, bias=bias
    )
    net = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(16), enable_nested_tensor=False).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        wanted = net(x)
        hidden = torch.triu(torch.ones(x.shape[1 if batch_first else 0], x.shape[1 if batch_first else 0]), 1).bool()
        causal = net(x, mask=hidden)
        made, stays = split_attention(net)
        assert not stays and not any(isinstance(m, nn.MultiheadAttention) for m in made.modules())
        torch.testing.assert_close(made(x), wanted, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(made(x, mask=hidden), causal, atol=1e-5, rtol=1e-4)


def test_an_attention_of_another_kind_stays_and_is_named():
    holder = nn.Module()
    holder.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=4)
    made, stays = split_attention(holder)
    assert isinstance(made.cross, nn.MultiheadAttention) and "cross stays in FP32" in stays[0]


def test_attention_by_itself_is_the_same_and_padding_is_refused():
    torch.manual_seed(1)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    q, k = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    wanted = attention(q, k, k)[0]
    made, _ = split_attention(attention)
    torch.testing.assert_close(made(q, k, k)[0], wanted, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="padding"):
        made(q, k, k, key_padding_mask=torch.zeros(2, 5, dtype=torch.bool))
