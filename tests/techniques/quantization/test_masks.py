"""Models whose attention knows padding are quantized by every scheme, and go on ignoring what is padded."""

import pytest
import torch
from torch import nn

import primum
from primum.techniques.quantization.weight_only import quantize_weights

LENGTH = 6
DYNAMIC = primum.QuantizationConfig(quantization_type="dynamic")


class Padded(nn.Module):
    """An encoder that takes steps of zeros for padding."""

    def __init__(self, batch_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head, self.turned = nn.Linear(32, 2), not batch_first

    def forward(self, x):
        padding = x.abs().sum(-1) == 0
        out = self.encoder(x.transpose(0, 1) if self.turned else x, src_key_padding_mask=padding)
        return self.head((out.transpose(0, 1) if self.turned else out)[:, 0])


class Alone(nn.Module):
    """A bare attention, asked for its weights."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 2)

    def forward(self, x):
        mixed, weights = self.attention(x, x, x, key_padding_mask=x.abs().sum(-1) == 0)
        return self.head(mixed[:, 0]) + weights.amax((1, 2), keepdim=False)[:, None]


def cases():
    torch.manual_seed(3)
    x = torch.randn(16, LENGTH, 32)
    for n in range(16):
        x[n, 1 + n % LENGTH :] = 0
    return x


def trained(model, x):
    labels = (torch.arange(16) % 2).long()
    return primum.quantize_aware_training(model, [(x, labels)], epochs=1, learning_rate=1e-6)


SCHEMES = {
    "dynamic": lambda m, x: primum.quantize_dynamic(m),
    "int8": lambda m, x: quantize_weights(m, "int8")[0],
    "int4": lambda m, x: quantize_weights(m, "int4")[0],
    "nf4": lambda m, x: quantize_weights(m, "nf4", "bitsandbytes")[0],
    "static": primum.quantize_static,
    "qat": trained,
    "manager": lambda m, x: primum.QuantizationManager(DYNAMIC).quantize_model(m).model,
}


@pytest.mark.parametrize("make", [lambda: Padded(True), lambda: Padded(False), Alone], ids=["first", "second", "alone"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantized_model_follows_its_original_under_padding(scheme, make):
    if scheme == "nf4":
        pytest.importorskip("bitsandbytes")
    x = cases()
    model = make().eval()
    made = SCHEMES[scheme](model, x)
    with torch.no_grad():
        wanted, found = model(x), made(x)
        spread = float(wanted.std())
        assert 0 < float((found - wanted).abs().max()) < spread  # rounded, and far nearer than a mask left out
        # What a padded step holds must not matter, as it does not to torch.
        short = x[:1, :1].expand(1, LENGTH, 32).clone()
        short[:, 1:] = 0
        torch.testing.assert_close(made(short), made(short[:, :1]), atol=float(spread) / 10, rtol=0)
