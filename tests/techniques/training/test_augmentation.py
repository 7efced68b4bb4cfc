"""Small views of images, volumes and their masks."""

import pytest
import torch

from primum.techniques.training.augmentation import Augmentation, usual_augmentation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_no_change_is_no_change():
    x = torch.rand(3, 2, 20, 24)
    same, _ = Augmentation(shift=0, scale=0)(x, torch.zeros(3), seeded())
    assert torch.allclose(same, x, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 1, 32, 32), (4, 1, 16, 20, 24)])
def test_a_change_is_small_and_follows_the_seed(shape):
    x = torch.zeros(shape)
    x[(..., *[slice(s // 4, 3 * s // 4) for s in shape[2:]])] = 1
    one, _ = Augmentation()(x, torch.zeros(len(x)), seeded())
    again, _ = Augmentation()(x, torch.zeros(len(x)), seeded())
    other, _ = Augmentation()(x, torch.zeros(len(x)), seeded(1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == x.shape and 0 < float((one - x).abs().mean()) < 0.1


def test_masks_move_with_their_images():
    masks = torch.zeros(6, 40, 40, dtype=torch.int64)
    masks[:, 10:25, 5:20] = 2
    images, moved = Augmentation(shift=0.2, scale=0.2)(masks[:, None].float(), masks, seeded())
    assert set(moved.unique().tolist()) == {0, 2}
    assert not torch.equal(moved, masks)
    # The interpolated image and the mask agree but for the seam.
    assert float(((images[:, 0] > 1).long() * 2 == moved).float().mean()) > 0.97


def test_left_stays_left_unless_flips_are_asked_for():
    x = torch.zeros(64, 1, 32, 32)
    x[..., :8] = 1
    unflipped, _ = Augmentation()(x, torch.zeros(64), seeded())
    assert (unflipped[..., :16].sum((1, 2, 3)) > unflipped[..., 16:].sum((1, 2, 3))).all()
    flipped, _ = Augmentation(flips=True)(x, torch.zeros(64), seeded())
    right = (flipped[..., :16].sum((1, 2, 3)) < flipped[..., 16:].sum((1, 2, 3))).float().mean()
    assert 0.25 < float(right) < 0.75


def test_contrast():
    x = torch.ones(16, 1, 16, 16)
    changed, _ = Augmentation(shift=0, scale=0, gain=0.2)(x, torch.zeros(16), seeded())
    assert 0.75 < float(changed.min()) < 0.95 < 1.05 < float(changed.max()) < 1.25


def test_only_images_are_augmented():
    signal = torch.rand(4, 12, 100)
    assert Augmentation()(signal, torch.zeros(4), seeded())[0] is signal
    assert usual_augmentation((12, 1000)) is None and usual_augmentation((30,)) is None
    assert usual_augmentation((1, 8, 8)) is None
    assert usual_augmentation((1, 64, 64)) == usual_augmentation((1, 32, 64, 64)) == Augmentation()
