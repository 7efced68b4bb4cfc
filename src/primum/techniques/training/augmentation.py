"""Other views of the same images: what teacher and student then see alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SMALLEST = 16
"""Pixels along the shortest axis below which a shifted image is mostly blur."""


@dataclass(frozen=True)
class Augmentation:
    """Small affine changes of (N, C, H, W) images and (N, C, D, H, W) volumes, other inputs pass unchanged.

    Flips are off unless asked for: left and right differ in most of medicine.
    """

    shift: float = 0.04
    """Greatest shift, as a share of each axis."""
    scale: float = 0.05
    """Greatest change of size."""
    gain: float = 0.0
    """Greatest change of contrast, as a share."""
    flips: bool = False
    """Mirror the last axis of half of the cases."""

    def __call__(
        self, inputs: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """New inputs, and labels changed with them where they are masks (N, *spatial)."""
        import torch
        from torch.nn import functional

        axes = inputs.ndim - 2
        if axes not in (2, 3):
            return inputs, labels
        place = self._places(len(inputs), axes, generator).to(inputs.device)
        grid = functional.affine_grid(place, list(inputs.shape), align_corners=False)
        moved = functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
        if self.gain:
            change = self.gain * (2 * torch.rand(len(inputs), generator=generator) - 1)
            moved = moved * (1 + change.to(moved).reshape(-1, *[1] * (inputs.ndim - 1)))
        if labels.ndim != axes + 1:
            return moved, labels
        masks = labels[:, None].float()
        grid = functional.affine_grid(place, list(masks.shape), align_corners=False)
        masks = functional.grid_sample(masks, grid, mode="nearest", padding_mode="border", align_corners=False)
        return moved, masks[:, 0].to(labels.dtype)

    def _places(self, count: int, axes: int, generator: torch.Generator) -> torch.Tensor:
        """Affine matrices (N, axes, axes + 1) in the normalised coordinates of `affine_grid`."""
        import torch

        def between(*shape: int) -> torch.Tensor:
            return 2 * torch.rand(*shape, generator=generator) - 1

        place = torch.zeros(count, axes, axes + 1)
        size = 1 + self.scale * between(count)
        for axis in range(axes):
            place[:, axis, axis] = size
        place[:, :, axes] = 2 * self.shift * between(count, axes)
        if self.flips:
            place[:, 0, 0] *= torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        return place


def usual_augmentation(input_shape: tuple[int, ...]) -> Augmentation | None:
    """Small shifts and scales for images and volumes of at least 16 pixels an axis, else None."""
    images = len(input_shape) in (3, 4) and min(input_shape[1:]) >= _SMALLEST
    return Augmentation() if images else None
