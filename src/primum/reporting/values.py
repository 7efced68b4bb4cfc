"""Values and masks: how far original and delivered lie from the truth, and from one another."""

from __future__ import annotations

from functools import partial
from math import isfinite, nan

import numpy as np

from primum.reporting import figure_values
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.blocks import Block, Cell, Figure, Paragraph, Table, columns, row
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.regression import bland_altman
from primum.validation.segmentation import DICE_LOSS
from primum.validation.verdict import Component, Verdict

_PANELS = 9


def values_blocks(result: StudyResult) -> list[Block]:
    """Figure and table of a regression or segmentation, whose judged scores of the original are finite."""
    return _masks(result) if result.model.task is Task.SEGMENTATION else _values(result)


def _values(result: StudyResult) -> list[Block]:
    names, judged = result.model.classes, result.judged
    verdict = w.delivered_verdict(result)
    panels = [_differences(result, verdict, d, name) for d, name in enumerate(names)]
    told = "; ".join(
        f"{p.title or 'all values'}: mean difference {n.signed_amount(p.bias)}, limits {n.signed_amount(p.lower)} to "
        f"{n.signed_amount(p.upper)}"
        for p in panels
    )
    caption = (
        "Bland and Altman's plot: each case's difference between candidate and original, with the mean and the limits "
        "within which 95% of differences lie."
    )
    if tolerances := result.policy.say_tolerances(names):
        caption += f" Green: within the {n.clean(tolerances)}."
    if not isfinite(panels[0].lower):
        caption += " No limits are drawn where differences do not vary or patients repeat and no tolerance was given."
    if len(judged.labels) > figure_values.MOST_DOTS:
        caption += f" Of {n.count(len(judged.labels))} cases the farthest and a sample of the others are drawn."
    if len(panels) > _PANELS:
        caption += f" The first {_PANELS} of {len(panels)} outputs."
    shown = panels[:_PANELS]
    figure = Figure(
        "values",
        f"Bland-Altman plot. {told}.",
        caption,
        partial(figure_values.draw_differences, shown),
        narrow=len(shown) == 1,
    )
    return [figure, _error_table(result)]


def _differences(result: StudyResult, verdict: Verdict | None, d: int, name: str) -> figure_values.Differences:
    before, after = (np.asarray(v)[:, d] for v in (result.judged.reference, result.judged.candidate))
    (tolerance,) = result.policy.tolerances_of((name,))
    title = w.sentence(n.clean(name)) if len(result.model.classes) > 1 else ""
    bias, lower, upper = _limits(verdict, before, after, name if len(result.model.classes) > 1 else "")
    return figure_values.Differences(title, (before + after) / 2, after - before, bias, lower, upper, tolerance)


def _limits(verdict: Verdict | None, before: np.ndarray, after: np.ndarray, view: str) -> tuple[float, float, float]:
    """Bias and limits of agreement as the verdict has them; without a tolerance it has none."""
    parts = verdict.components if verdict is not None else ()
    held = next((p.beside for p in parts if p.name.startswith("agreement") and p.view == view), {})
    if "limit_lower" in held:
        return held["bias"], held["limit_lower"], held["limit_upper"]
    if verdict is None or verdict.clustered or np.array_equal(before, after) or before.size < 2:
        return float((after - before).mean()), nan, nan
    found = bland_altman(after, before)
    return found.bias.estimate, found.lower.estimate, found.upper.estimate


def _error_table(result: StudyResult) -> Table:
    """Errors against the truth of both, by output."""
    judged = result.judged
    labels = np.asarray(judged.labels, dtype=np.float64).reshape(len(judged.labels), -1)
    rows = []
    for d, name in enumerate(result.model.classes):
        for side, values in (("original", judged.reference), ("delivered", judged.candidate)):
            error = np.asarray(values)[:, d] - labels[:, d]
            size = np.abs(error)
            figures = (size.mean(), np.sqrt((error**2).mean()), np.median(size), np.percentile(size, 95), size.max())
            rows.append(
                row(Cell(name, "", side), *(n.amount(float(v)) for v in figures), n.signed_amount(float(error.mean())))
            )
    titles = columns(
        "Output", "#Mean abs. error", "#Root mean square", "#Median abs. error", "#95% are within", "#Largest", "#Bias"
    )
    return Table("Errors against the truth, in units of the label.", titles, tuple(rows))


def _masks(result: StudyResult) -> list[Block]:
    judged = result.judged
    before, after = np.asarray(judged.reference), np.nan_to_num(np.asarray(judged.candidate), nan=0.0)
    names = result.model.classes[-before.shape[1] :]
    panels = [
        figure_values.Masks(w.sentence(n.clean(name)) if len(names) > 1 else "", before[:, c], after[:, c], DICE_LOSS)
        for c, name in enumerate(names)
    ]
    told = "; ".join(
        f"{n.clean(name)}: {before[:, c].mean():.3f} to {after[:, c].mean():.3f}" for c, name in enumerate(names)
    )
    caption = f"Dice of each case, original against delivered. Below the red line a case loses more than {DICE_LOSS:g}."
    if len(before) > figure_values.MOST_DOTS:
        caption += f" Of {n.count(len(before))} cases those that changed most and a sample of the others are drawn."
    if len(panels) > _PANELS:
        caption += f" The first {_PANELS} of {len(panels)} structures."
    shown = panels[:_PANELS]
    draw = partial(figure_values.draw_masks, shown)
    figure = Figure("values", f"Mean Dice by structure, {told}.", caption, draw, narrow=len(shown) == 1)
    broken = int((~np.isfinite(judged.candidate)).any(axis=1).sum())
    note = [Paragraph(f"{n.plural(broken, 'case')} without a finite mask: Dice 0.", "warn")] if broken else []
    return [*note, figure, _dice_table(result, names, before, after)]


def _dice_table(result: StudyResult, names: tuple[str, ...], before: np.ndarray, after: np.ndarray) -> Table:
    verdict = w.delivered_verdict(result)
    parts = {p.view: p for p in (verdict.components if verdict is not None else ())}
    rows = []
    for c, name in enumerate(names):
        lost = before[:, c] - after[:, c] > DICE_LOSS
        rows.append(
            row(
                name,
                f"{before[:, c].mean():.4f}",
                f"{after[:, c].mean():.4f}",
                f"{np.median(before[:, c]):.4f}",
                f"{np.median(after[:, c]):.4f}",
                f"{before[:, c].min():.4f}",
                f"{after[:, c].min():.4f}",
                n.count(int(lost.sum())),
                _share_losing(parts.get(name)),
            )
        )
    titles = columns(
        "Structure",
        "#Original: mean",
        "#Delivered: mean",
        "#Original: median",
        "#Delivered: median",
        "#Original: lowest",
        "#Delivered: lowest",
        f"#Cases losing over {DICE_LOSS:g}",
        "Share of patients losing",
    )
    caption = f"Dice by structure. A case loses where its Dice falls by more than {DICE_LOSS:g}."
    return Table(caption, titles, tuple(rows), wide=True)


def _share_losing(part: Component | None) -> str:
    if part is None or "share_losing" not in part.beside:
        return n.NOTHING
    held = part.beside
    ends = f"{n.percent(held['share_losing_lower'])} to {n.percent(held['share_losing_upper'])}"
    return f"{n.percent(held['share_losing'])} ({ends})"
