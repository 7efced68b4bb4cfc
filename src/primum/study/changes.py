"""What a candidate changes in the original's graph, layer by layer, and what of it can be substituted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primum.runtimes.nodes import module_path
from primum.study.original import Original
from primum.study.recipe import Recipe
from primum.study.scheme import Scheme, scheme_of
from primum.study.stages import Workshop, stage
from primum.study.substitution import RECURRENT, Change, Constants, Layer, Network

MOST_LAYERS = 60
CALIBRATION_CASES = 32
"""Ranges come from this many: they are run once more, one by one, with every layer's input kept."""
_RESHAPED = "its weights have another shape in the changed network"
_MOST_BYTES = 2**31 - 2**24
"""What a serialized protobuf may hold."""


@dataclass(frozen=True)
class Skipped:
    """A layer that was not measured, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Plan:
    """The substitutions."""

    network: Network
    scheme: Scheme | None
    changes: tuple[tuple[Layer, tuple[Change, ...]], ...]
    """The layers that change, those whose weights change most first."""
    skipped: tuple[Skipped, ...]
    original: Network | None = None
    """Where techniques changed the layers themselves: the original. `network` is then what they made of it."""


def plan_changes(original: Original, recipe: Recipe, workshop: Workshop) -> tuple[Plan | None, str]:
    """What is to be substituted, or None and the reason why nothing can be."""
    import onnx

    scheme = scheme_of(recipe.target)
    if original.onnx is None:
        return None, "the original has no ONNX export into which a layer could be put"
    if scheme is None and not recipe.techniques:
        return None, "no layer is changed: only the runtime differs from the original's"
    model = onnx.load(original.onnx)
    if model.ByteSize() > _MOST_BYTES:
        return None, "the network is too large for one ONNX file, so no layer could be put into it"
    network = first = Network(model)
    changed = _changed_network(original, recipe, workshop) if recipe.techniques else None
    counterparts, unmatched = _changed_constants(network, changed)
    reshaped = any(item.why == _RESHAPED for item in unmatched)
    if changed is not None and reshaped:
        network, counterparts, unmatched = changed, {}, []
    missing = {item.name for item in unmatched}
    found = []
    for layer in network.layers():
        changes = _changes_of(layer, network, scheme, counterparts)
        if changes and layer.name not in missing:
            found.append((layer, changes))
    skipped = [*unmatched, *_unsimulated(network, scheme)]
    if not found and not reshaped:
        return None, f"{recipe} changes no weight of a layer that could be substituted"
    found.sort(key=lambda item: -_disturbance(network, item[1]))
    skipped += [Skipped(y.name, f"only {MOST_LAYERS} layers are measured") for y, _ in found[MOST_LAYERS:]]
    chosen = _with_ranges(found[:MOST_LAYERS], network, scheme, workshop.inputs, workshop.calibration)
    return Plan(network, scheme, tuple(chosen), tuple(skipped), first if reshaped else None), ""


def _changed_network(original: Original, recipe: Recipe, workshop: Workshop) -> Network:
    import onnx

    return Network(onnx.load(stage(original, recipe, workshop, needs_onnx=True).onnx))


def _changed_constants(network: Network, changed: Network | None) -> tuple[dict[int, Constants], list[Skipped]]:
    """By node of `network`, the constants that techniques made of its own; and the layers without."""
    if changed is None:
        return {}, []
    others = {layer.name: layer for layer in changed.layers()}
    constants: dict[int, Constants] = {}
    skipped = []
    for layer in network.layers():
        other = others.get(layer.name)
        if other is None:
            skipped.append(Skipped(layer.name, "the changed network has no such layer"))
            continue
        theirs = changed.places(other)
        pairs = {
            place: changed.constants_of(changed.nodes[theirs[key]])
            for key, place in network.places(layer).items()
            if key in theirs
        }
        shapes = {p: _shapes(network.constants_of(network.nodes[p])) for p in layer.nodes}
        if any(_shapes(pairs.get(place, {})) != shape for place, shape in shapes.items()):
            skipped.append(Skipped(layer.name, _RESHAPED))
            continue
        constants |= pairs
    return constants, skipped


def _shapes(constants: Constants) -> dict[int, tuple[int, ...]]:
    return {slot: values.shape for slot, values in constants.items()}


def _changes_of(
    layer: Layer, network: Network, scheme: Scheme | None, counterparts: dict[int, Constants]
) -> tuple[Change, ...]:
    """How the layer's nodes differ in the candidate; empty where they do not."""
    if scheme is not None and scheme.spares(layer.name):
        scheme = None
    changes = []
    heavy = [p for p in layer.nodes if scheme is not None and scheme.touches(network.nodes[p])]
    rounded = [p for p in heavy if 1 in network.constants_of(network.nodes[p])]
    for place in layer.nodes:
        node = network.nodes[place]
        own = network.constants_of(node)
        new = counterparts.get(place, own)
        if scheme is not None:
            new = {slot: scheme.round(node, slot, values) for slot, values in new.items()}
        new = {slot: values for slot, values in new.items() if not np.array_equal(values, own[slot])}
        enters = scheme.activation if scheme is not None and place in rounded else ""
        # The bias of a matrix product is added by a node of its own.
        leaves = scheme is not None and scheme.rounds_output and bool(rounded) and not network.answers(node)
        if new or enters or leaves:
            changes.append(Change(place, new, enters, leaves))
    return tuple(changes)


def _unsimulated(network: Network, scheme: Scheme | None) -> list[Skipped]:
    """Layers that a lower precision may change, but not in this simulation."""
    if scheme is None or not scheme.activation:
        return []
    known = network.constants
    recurrent = [module_path(node, known) for node in network.nodes if node.op_type in RECURRENT]
    computed = [Skipped(name, "both factors are computed: there is no weight") for name in network.unweighted()]
    return computed + [Skipped(name, "recurrent and attention operators are not simulated") for name in recurrent]


def _disturbance(network: Network, changes: Iterable[Change]) -> float:
    """Change of a layer's constants against their typical size: the order of measuring, should time run out.

    The median, for one huge weight that stretches the scale is what ruins the others.
    """
    moved = size = 0.0
    for change in changes:
        own = network.constants_of(network.nodes[change.node])
        moved += sum(float(np.square(values - own[slot]).sum()) for slot, values in change.constants.items())
        size += sum(float(np.median(np.square(own[slot]))) * own[slot].size for slot in change.constants)
    return moved / max(size, float(np.finfo(np.float32).tiny))


def _with_ranges(
    found: list[tuple[Layer, tuple[Change, ...]]],
    network: Network,
    scheme: Scheme | None,
    inputs: Path,
    calibration: NDArray[np.int64],
) -> list[tuple[Layer, tuple[Change, ...]]]:
    if scheme is None or scheme.activation != "static":
        return found
    nodes = network.nodes
    affected = [c for _, changes in found for c in changes]
    enters = {c.node: str(nodes[c.node].input[0]) for c in affected if c.activation}
    leaves = {c.node: network.leaves(nodes[c.node]) for c in affected if c.rounds_output}
    cases = np.asarray(np.load(inputs, mmap_mode="r")[calibration[:CALIBRATION_CASES]], dtype=np.float32)
    ranges = network.ranges([*enters.values(), *leaves.values()], cases, scheme.mean_range)
    return [
        (
            layer,
            tuple(
                replace(c, enters=ranges.get(enters.get(c.node, "")), leaves=ranges.get(leaves.get(c.node, "")))
                for c in changes
            ),
        )
        for layer, changes in found
    ]
