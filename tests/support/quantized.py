"""Networks whose quantization shows something: normalization inside, attention, recurrence, fake quantization."""

import torch
from torch import nn
from torch.nn import functional


class Prepared(nn.Module):
    """(N, 1, 16, 16) to 2 logits: scaled inside the graph first, as networks for signals do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        x = centred / ((centred * centred).mean((2, 3), keepdim=True).sqrt() + 0.05)
        return self.head(functional.relu(self.body(self.stem(x))).mean((2, 3)))


class Attention(nn.Module):
    """One block of self-attention over (N, T, width); written as matrix products, or as torch's own function."""

    def __init__(self, width: int, heads: int, products: bool) -> None:
        super().__init__()
        self.heads, self.products = heads, products
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        q, k, v = (
            f(x).view(n, t, self.heads, width // self.heads).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        if self.products:
            mixed = torch.softmax(q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5, -1) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    """Attention and two linear layers, each with a shortcut and a normalization."""

    def __init__(self, width: int, heads: int, products: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, products)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.down(functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """(N, 16, 24) to 2 logits, in the manner of BERT."""

    def __init__(self, layers: int = 2, width: int = 64, heads: int = 4, products: bool = True) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(24, width), nn.LayerNorm(width)
        self.layers = nn.Sequential(*(Block(width, heads, products) for _ in range(layers)))
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.norm(self.embed(x))).mean(1))


class Recurrent(nn.Module):
    """(N, 12, 24) to 2 logits through an LSTM or a GRU."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cells, self.head = kind(24, 32, batch_first=True), nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(x)[0][:, -1])


class FakeQuantized(nn.Module):
    """(N, 1, 16, 16) to 2 logits with the rounding of INT8 in the forward pass, as training for it leaves it."""

    def __init__(self, low: int = -127) -> None:
        super().__init__()
        self.conv, self.conv2, self.head = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3), nn.Linear(16, 2)
        self.low = low
        self.register_buffer("zeros", torch.zeros(16, dtype=torch.int32))

    def _weight(self, weight: torch.Tensor) -> torch.Tensor:
        scale = weight.detach().abs().flatten(1).amax(1) / 127
        return torch.fake_quantize_per_channel_affine(weight, scale, self.zeros[: len(weight)], 0, self.low, 127)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, 0.03, 128, 0, 255)
        x = functional.conv2d(x, self._weight(self.conv.weight), self.conv.bias, padding=1).relu()
        x = torch.fake_quantize_per_tensor_affine(x, 0.02, 0, 0, 255)
        x = functional.conv2d(x, self._weight(self.conv2.weight), self.conv2.bias).relu()
        x = torch.fake_quantize_per_tensor_affine(x, 0.02, 0, 0, 255).mean((2, 3))
        x = torch.fake_quantize_per_tensor_affine(x, 0.02, 0, 0, 255)
        return functional.linear(x, self._weight(self.head.weight), self.head.bias)


def prepared() -> nn.Module:
    torch.manual_seed(0)
    net = Prepared()
    with torch.no_grad():
        net.train()
        for _ in range(5):
            net(torch.randn(32, 1, 16, 16))
    return net.eval()


def encoder(products: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return Encoder(products=products).eval()


def recurrent(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return Recurrent(kind).eval()


def fake_quantized(low: int = -127) -> nn.Module:
    torch.manual_seed(0)
    return FakeQuantized(low).eval()
