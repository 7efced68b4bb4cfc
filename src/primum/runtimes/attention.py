"""Attention blocks of a graph as single operators, for ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

from primum.errors import TrialError
from primum.runtimes.facts import read_facts
from primum.runtimes.fusable import make_fusable

FUSED = ("Attention", "MultiHeadAttention", "QAttention")


def fuse_attention(export: Path, path: Path) -> tuple[Path, tuple[str, ...]]:
    """The graph to go on with and notes: `path`, with attention fused by onnxruntime.transformers, or `export` itself.

    Blocks written as matrix products fuse (`export_onnx` writes them so where it is asked to); what torch's
    scaled_dot_product_attention is exported to does not. Raises TrialError where the optimizer fails.
    """
    try:
        fused = optimize_transformer(export)
    except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError, TypeError, IndexError) as error:
        raise TrialError(f"onnxruntime.transformers fails on this graph: {error}") from error
    counts = {k: int(n) for k, n in fused.get_fused_operator_statistics().items() if n}
    attention = sum(counts.get(kind, 0) for kind in FUSED)
    if not attention:
        return export, ("no attention block could be fused: the plain graph is used",)
    fused.save_model_to_file(str(path))
    listed = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
    whole = read_facts(export).attentions
    left = (f"{whole - attention} of {whole} attention blocks could not be fused",) if attention < whole else ()
    return path, (f"fused: {listed}", *left)


def optimize_transformer(export: Path) -> Any:
    """The OnnxModel that onnxruntime.transformers makes of `export`; heads and width are read from the graph."""
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    # The mask itself: the usual form, its sum, holds only where all padding is at the end.
    options.use_raw_attention_mask(True)
    graph = make_fusable(onnx.load(export))
    root, silent = logging.getLogger(), io.StringIO()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            return optimizer.optimize_model(
                graph, model_type="bert", num_heads=0, hidden_size=0, optimization_options=options, opt_level=0
            )
    finally:
        root.setLevel(level)
