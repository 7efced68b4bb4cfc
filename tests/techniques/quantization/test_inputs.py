"""What quantizers are given: token ids stay whole numbers, and what does not fit is said in words."""

import logging

import numpy as np
import pytest
import torch
from nets import Tokens
from torch import nn

import primum
from primum.errors import InputError
from primum.techniques.quantization.quiet import known_warnings_silenced


def tokens():
    torch.manual_seed(0)
    return Tokens().eval(), torch.randint(0, 50, (32, 9))


@pytest.mark.parametrize("given", ["tensor", "int32 array", "loader"])
def test_static_quantization_takes_token_ids(given):
    model, ids = tokens()
    data = {"tensor": ids, "int32 array": ids.numpy().astype(np.int32), "loader": [(ids[:16], 0), (ids[16:], 1)]}
    made = primum.quantize_static(model, data[given])
    assert 0 < float((made(ids) - model(ids)).abs().max()) < float(model(ids).std())


def test_training_with_rounding_takes_token_ids():
    model, ids = tokens()
    made = primum.quantize_aware_training(model, [(ids, (ids[:, 0] > 25).long())], epochs=2, learning_rate=1e-5)
    assert 0 < float((made(ids) - model(ids)).abs().max()) < float(model(ids).std())


def test_images_of_whole_numbers_go_on_as_floats():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)).eval()
    images = np.random.default_rng(0).integers(0, 255, (8, 1, 8, 8)).astype(np.uint8)
    made = primum.quantize_static(model, images)
    assert made(torch.from_numpy(images).float()).shape == (8, 2)
    labels = torch.arange(8) % 2
    trained = primum.quantize_aware_training(model, [(torch.from_numpy(images), labels)], epochs=1)
    assert trained(torch.from_numpy(images).float()).shape == (8, 2)


def image_net():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)).eval()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (torch.full((2, 1, 8, 8), float("nan")), "not finite"),
        ([{"x": torch.zeros(2, 1, 8, 8)}], "gave dict"),
        ([torch.zeros(2, 3, 8, 8)], r"does not take a batch of shape \(2, 3, 8, 8\)"),
        ([torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 9, 9)], r"shape \(2, 1, 9, 9\)"),
    ],
)
def test_calibration_data_that_do_not_fit_are_named(data, why):
    with pytest.raises(InputError, match=why):
        primum.quantize_static(image_net(), data)


@pytest.mark.parametrize(
    ("loader", "why"),
    [
        ([({"x": torch.zeros(2, 1, 8, 8)}, torch.zeros(2).long())], "gave dict"),
        ([(torch.zeros(2, 3, 8, 8), torch.zeros(2).long())], "does not take a batch of shape"),
        ([(torch.zeros(2, 1, 8, 8), [0, 1]), (torch.zeros(2, 1, 9, 9), [0, 1])], "one shape and type"),
    ],
)
def test_training_data_that_do_not_fit_are_named(loader, why):
    with pytest.raises(InputError, match=why):
        primum.quantize_aware_training(image_net(), loader, epochs=1)


def test_the_known_note_of_bitsandbytes_is_silent_and_others_are_not(caplog):
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    with caplog.at_level(logging.WARNING), known_warnings_silenced():
        log.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s", "no module")
        log.warning("something else")
    log.warning("gemm_4bit_forward, outside")
    assert [r.getMessage() for r in caplog.records] == ["something else", "gemm_4bit_forward, outside"]
