"""The registry, and the positive control."""

import nets
import torch

from primum.techniques.registry import Context, apply_all, make


def test_rounding_leaves_few_levels_and_the_original_untouched():
    net = nets.build()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    rounded = apply_all(net, (make("round_weights", {"bits": 3}),), Context())
    for name, parameter in rounded.named_parameters():
        if parameter.ndim > 1:
            assert len(parameter.unique()) <= 7, name
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_more_bits_harm_less():
    net, x = nets.build(), torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def error(bits: int) -> float:
        changed = apply_all(net, (make("round_weights", {"bits": bits}),), Context())
        with torch.inference_mode():
            return float((changed(x) - net(x)).abs().mean())

    assert error(2) > error(4) > error(8) > 0


def test_no_techniques_give_the_model_itself():
    net = nets.build()
    assert apply_all(net, (), Context()) is net
