"""Small networks of the shapes that clinical models have, for pruning."""

import torch
from torch import nn

CONVS = {2: nn.Conv2d, 3: nn.Conv3d}
UPS = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, norm=nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), norm(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), norm(outputs)
        self.act = nn.ReLU(inplace=True)
        self.down = None
        if stride > 1 or inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        return self.act(out + (x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    """ResNet of basic blocks; `resnet18` is the usual one."""

    def __init__(self, width: int = 16, depth=(1, 1), classes: int = 3, channels: int = 3, norm=nn.BatchNorm2d) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 7, 2, 3, bias=False), norm(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        stages, inputs = [], width
        for stage, blocks in enumerate(depth):
            for i in range(blocks):
                outputs = width * 2**stage
                stages.append(Block(inputs, outputs, 2 if stage and not i else 1, norm))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


class DenseNet(nn.Module):
    """Concatenation of everything before, norms before convolutions, one transition."""

    def __init__(self, growth: int = 16, norm=nn.BatchNorm2d) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1)
        self.first = nn.ModuleList(self._layer(16 + i * growth, growth, norm) for i in range(3))
        width = 16 + 3 * growth
        self.between = nn.Sequential(norm(width), nn.ReLU(), nn.Conv2d(width, 32, 1), nn.AvgPool2d(2))
        self.second = nn.ModuleList(self._layer(32 + i * growth, growth, norm) for i in range(2))
        self.norm = norm(32 + 2 * growth)
        self.head = nn.Linear(32 + 2 * growth, 2)

    @staticmethod
    def _layer(inputs: int, growth: int, norm) -> nn.Module:
        return nn.Sequential(norm(inputs), nn.ReLU(), nn.Conv2d(inputs, growth, 3, 1, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for layer in self.first:
            x = torch.cat([x, layer(x)], 1)
        x = self.between(x)
        for layer in self.second:
            x = torch.cat([x, layer(x)], 1)
        return self.head(torch.relu(self.norm(x)).mean((2, 3)))


class Inverted(nn.Module):
    """Inverted residual with depthwise convolution and squeeze-and-excitation."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish()
        )
        self.squeeze = nn.Sequential(nn.Conv2d(wide, 8, 1), nn.ReLU(), nn.Conv2d(8, wide, 1), nn.Hardsigmoid())
        self.project = nn.Sequential(nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.depthwise(self.expand(x))
        out = out * self.squeeze(out.mean((2, 3), keepdim=True))
        return x + self.project(out)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.Hardswish(),
            Inverted(16, 48),
            Inverted(16, 64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.2), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


class Grouped(nn.Module):
    """ResNeXt-like: grouped convolution within a bottleneck, GroupNorm, grouped transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), nn.GroupNorm(4, 32), nn.SiLU())
        self.narrow = nn.Sequential(nn.Conv2d(32, 48, 1), nn.BatchNorm2d(48), nn.ReLU())
        self.grouped = nn.Sequential(nn.Conv2d(48, 48, 3, 1, 1, groups=4), nn.BatchNorm2d(48), nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(48, 32, 1), nn.GroupNorm(32, 32))
        self.head = nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(torch.relu(x + self.wide(self.grouped(self.narrow(x)))).mean((2, 3)))


class Unit(nn.Module):
    """Residual unit of a U-Net: convolution, instance norm, PReLU of one slope, with a convolution as shortcut."""

    def __init__(self, axes: int, inputs: int, outputs: int, stride: int, affine: bool) -> None:
        super().__init__()
        conv = CONVS[axes]
        norm = lambda: INSTANCE[axes](outputs, affine=affine)  # noqa: E731
        self.conv = nn.Sequential(
            conv(inputs, outputs, 3, stride, 1), norm(), nn.PReLU(), conv(outputs, outputs, 3, 1, 1), norm(), nn.PReLU()
        )
        self.short = conv(inputs, outputs, 3 if stride > 1 else 1, stride, 1 if stride > 1 else 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.short(x)


class Skip(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.inner(x)], 1)


class UNet(nn.Module):
    """As MONAI builds it: nested skips, strided residual units down, transposed convolutions with output padding up."""

    def __init__(self, axes: int = 2, widths=(16, 24, 32), classes: int = 2, affine: bool = False) -> None:
        super().__init__()
        self.axes, self.affine = axes, affine
        self.model = self._level(1, classes, widths, True)

    def _level(self, inputs: int, outputs: int, widths, top: bool) -> nn.Module:
        first, rest = widths[0], widths[1:]
        if len(rest) == 1:
            inner, width = Unit(self.axes, first, rest[0], 1, self.affine), first + rest[0]
        else:
            inner, width = self._level(first, first, rest, False), 2 * first
        down = Unit(self.axes, inputs, first, 2, self.affine)
        return nn.Sequential(down, Skip(inner), self._up(width, outputs, top))

    def _up(self, inputs: int, outputs: int, top: bool) -> nn.Module:
        up = UPS[self.axes](inputs, outputs, 3, 2, 1, output_padding=1)
        if top:
            return nn.Sequential(up, CONVS[self.axes](outputs, outputs, 3, 1, 1))
        return nn.Sequential(up, INSTANCE[self.axes](outputs, affine=self.affine), nn.PReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class ConvNext(nn.Module):
    """Channels last within the block: LayerNorm, two linear layers, a learned scale."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 4, 4)
        self.depthwise = nn.Conv2d(width, width, 7, 1, 3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.back = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.5))
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.back(nn.functional.gelu(self.wide(y)))
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class Volume(nn.Module):
    """3-D, flattened with space left: each channel is several inputs of the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(1, 16, 3, 2, 1), nn.BatchNorm3d(16), nn.ReLU(), nn.Conv3d(16, 24, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Linear(24 * 8, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.features(x), 1))


class Awkward(nn.Module):
    """What pruning must respect: the input beside features, channel statistics, a recurrent layer, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 16, 3, 1, 1), nn.InstanceNorm2d(16, affine=True), nn.PReLU(16))
        self.second = nn.Sequential(nn.Conv2d(18, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.spatial = nn.Conv2d(1, 1, 3, 1, 1)
        self.third = nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU())
        self.recurrent = nn.GRU(24, 12, batch_first=True)
        self.mid, self.head = nn.Conv2d(16, 2, 1), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.cat([x, self.first(x)], 1)
        y = self.second(y)
        gated = y * torch.sigmoid(self.spatial(y.mean(1, keepdim=True)))
        z = self.third(gated)
        steps, _ = self.recurrent(z.flatten(2).transpose(1, 2))
        return self.head(steps.mean(1)), self.mid(y)


class Transformer(nn.Module):
    """Patches, positions, one pre-norm block with attention of its own, mean over tokens."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.1)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.back = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        batch, tokens = x.shape[:2]
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, -1)
        x = x + self.project(y)
        x = x + self.back(nn.functional.gelu(self.wide(self.norm2(x))))
        return self.head(x.mean(1))


def resnet18(classes: int = 1000) -> nn.Module:
    return ResNet(64, (2, 2, 2, 2), classes)


def ready(model: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with weights, scales and running statistics of a network that has lived."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                spread = (2 / module.weight[0].numel()) ** 0.5
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * spread)
            elif getattr(module, "weight", None) is not None and module.weight.ndim == 1 and len(module.weight) > 1:
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                if getattr(module, "bias", None) is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.2)
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.1)
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model.eval()
