"""Why decisions changed: which layers, and which patients."""

from __future__ import annotations

from functools import partial
from math import isfinite, isinf

from primum.reporting import figure_bars
from primum.reporting import numbers as n
from primum.reporting.blocks import (
    Block,
    Cell,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
    bullets,
    columns,
    row,
)
from primum.study.layers import LayerError, LayerReport
from primum.validation.flip_causes import FAR, DistanceBin, FlipCauses, LevelCause

DRAWN = 12
LISTED = 15
NAMED = 20


def why_section(layers: LayerReport | None, causes: FlipCauses | None) -> Section:
    """What the flipped decisions come from; None where it was not looked into."""
    blocks: list[Block] = [Heading("Which layers")]
    blocks += _layer_blocks(layers) if layers is not None else [_absent("layers")]
    blocks.append(Heading("Which patients"))
    blocks += _patient_blocks(causes) if causes is not None else [_absent("patients")]
    return Section("why", "Why decisions changed", tuple(blocks))


def _absent(what: str) -> Paragraph:
    return Paragraph(f"Which {what} was not looked into: no candidate was examined for it.", "muted")


def _layer_blocks(report: LayerReport) -> list[Block]:
    first = [Paragraph(_techniques(report))] if report.techniques is not None else []
    if not report.layers:
        return [*first, Paragraph(f"No layer can be named: {n.clean(report.reason)}.")]
    flips = n.plural(report.flips, "changed decision")
    method = n.clean(report.method)
    text = (
        f"{method[:1].upper()}{method[1:]}, run on {n.plural(report.cases, 'case')}: "
        f"those whose decision {n.clean(report.recipe)} changed ({flips}) and those nearest to the threshold."
    )
    if report.techniques is not None:
        text += " Changed here means against the network that the techniques made."
    if report.calibration_cases:
        text += f" Ranges from {n.plural(report.calibration_cases, 'calibration case')}."
    blocks: list[Block] = [*first, Paragraph(text), Paragraph(_together(report))]
    blocks += [_layer_figure(report), _layer_table(report)]
    left_out = _left_out(report)
    return [*blocks, *([bullets(left_out)] if left_out else [])]


def _techniques(report: LayerReport) -> str:
    """What the techniques did before any precision was lowered."""
    own = report.techniques
    assert own is not None
    return (
        f"Of {n.plural(report.total_flips, 'changed decision')} among these cases, {n.count(own.flips_alone)} "
        f"{'was' if own.flips_alone == 1 else 'were'} changed by the techniques already, in FP32: the score moved by "
        f"{n.small(own.mean_change)} on average. The rest is the lower precision's."
    )


def _together(report: LayerReport) -> str:
    whole = report.together
    if whole is None:
        return "The layers were not run together, so it is not known how far they account for the candidate."
    if not report.flips:
        return (
            "The candidate changed no decision of these cases, so the layers show what they do to the scores alone: "
            f"together a mean of {n.small(whole.mean_change)}."
        )
    share = f"{n.count(whole.flips_alone)} of the {n.plural(report.flips, 'changed decision')}"
    text = f"All layers together reproduce {share}"
    if 2 * whole.flips_alone < report.flips:
        text += ": fewer than half, so most of the cause lies in what this simulation leaves out"
    best = max((e for e in report.layers if e.cured), key=lambda e: e.cured or 0, default=None)
    if best is not None:
        text += f". Left as it was in the original, {n.clean(best.name)} alone would undo {n.count(best.cured or 0)}"
    return text + "."


def _layer_figure(report: LayerReport) -> Figure:
    shown = report.layers[:DRAWN]
    bars = [figure_bars.Bar(n.clean(e.name), e.mean_change, _bar_words(e, report.flips)) for e in shown]
    told = "; ".join(f"{n.clean(e.name)} {n.small(e.mean_change)}" for e in shown)
    left = f" The first {len(shown)} of {len(report.layers)}." if len(report.layers) > len(shown) else ""
    return Figure(
        "why-layers",
        f"Bars: mean change of the score by layer, largest first. {told}.",
        f"How far each layer alone moves the score of these cases, on average.{left}",
        partial(figure_bars.draw, bars, "why-layers", "Mean change of the score, one layer alone"),
    )


def _bar_words(error: LayerError, flips: int) -> str:
    if not isfinite(error.mean_change):
        return "gives no finite score"
    moved = n.small(error.mean_change)
    return f"{moved}, turns {n.count(error.flips_alone)} of {n.count(flips)}" if flips else moved


def _layer_table(report: LayerReport) -> Table:
    shown = report.layers[:LISTED]
    caption = f"All {n.plural(len(report.layers), 'layer')}, the most harmful first."
    if len(report.layers) > len(shown):
        caption = f"The {len(shown)} most harmful of {n.count(len(report.layers))} layers; report.json holds all."
    caption += (
        " Turned alone: changed decisions that this layer alone turns like the candidate. Undone: of those that all "
        f"layers together reproduce, how many vanish when this layer is left as it was (the first "
        f"{sum(e.cured is not None for e in report.layers)} were tried)."
        if report.flips
        else ""
    )
    titles = columns(
        "Layer", "Operator", "#Weights", "#Mean change", "#Largest change", "#Logit RMS error", "#Turned alone",
        "#Turned others", "#Undone",
    )  # fmt: skip
    rows = [_layer_row(e) for e in shown]
    if report.together is not None:
        rows.append(_layer_row(report.together))
    return Table(caption, titles, tuple(rows), wide=True)


def _layer_row(error: LayerError) -> tuple[Cell, ...]:
    return row(
        error.name,
        error.kind or n.NOTHING,
        n.count(error.parameters),
        n.small(error.mean_change),
        n.small(error.max_change),
        n.small(error.rms_error),
        n.count(error.flips_alone),
        n.count(error.other_flips),
        n.NOTHING if error.cured is None else n.count(error.cured),
    )


def _left_out(report: LayerReport) -> list[str]:
    """Notes, and the layers that were not measured, by reason."""
    reasons: dict[str, list[str]] = {}
    for item in report.skipped:
        reasons.setdefault(item.why, []).append(item.name)
    notes = [n.clean(note[:1].upper() + note[1:]) for note in report.notes]
    return [*notes, *(f"Not measured ({why}): {_named(names)}" for why, names in reasons.items())]


def _named(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {n.count(len(names) - NAMED)} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _patient_blocks(causes: FlipCauses) -> list[Block]:
    if not causes.n:
        return [Paragraph("The original gives no finite score, so there is no decision that could change.")]
    blocks: list[Block] = [Paragraph(_account(causes))]
    if causes.flips:
        blocks.append(_distance_figure(causes))
    blocks.append(_distance_table(causes))
    if causes.flips and causes.levels:
        blocks += [_level_table(causes), Paragraph(_caution(causes), "small")]
    listed = []
    if causes.far:
        listed.append(f"Changed although outside the nearest {FAR:.0%}, farthest first: {_named(causes.far)}")
    for patient in causes.repeated[:NAMED]:
        whole = n.plural(patient.cases, "case")
        listed.append(f"One patient, {len(patient.case_ids)} of {whole} changed: {_named(patient.case_ids)}")
    if len(causes.repeated) > NAMED:
        listed.append(f"{n.count(len(causes.repeated) - NAMED)} more patients with several changed cases")
    blocks += [bullets(listed)] if listed else []
    return [*blocks, *([_near_misses(causes)] if causes.near_misses else [])]


def _account(causes: FlipCauses) -> str:
    of = f"{n.count(causes.flips)} of {n.plural(causes.n, 'case')}"
    text = f"The decision changed on {of}."
    if not causes.flips:
        text = f"No decision changed on {n.plural(causes.n, 'case')}; the nearest to it are listed below."
    elif isfinite(causes.nearest_share):
        text += (
            f" {n.percent(causes.nearest_share)} of them lie in the tenth of the cases that is nearest to the "
            "threshold by the original's own scores (10.0% would lie there by chance)."
        )
    if causes.left_out:
        text += f" {n.plural(causes.left_out, 'case')} without a finite score of the original left out."
    return text


def _share(part: DistanceBin) -> str:
    if not part.share_from:
        return f"nearest {part.share_to:.0%}"
    return f"{part.share_from:.0%} to {part.share_to:.0%}"


def _distance_figure(causes: FlipCauses) -> Figure:
    bars = [
        figure_bars.Bar(
            _share(b), b.rate.estimate * 100, f"{n.count(b.flips)} of {n.count(b.n)}",
            b.rate.lower * 100, b.rate.upper * 100,
        )
        for b in causes.bins
    ]  # fmt: skip
    told = "; ".join(f"{_share(b)}: {n.percent(b.rate.estimate)}" for b in causes.bins)
    return Figure(
        "why-distance",
        f"Bars: share of decisions that changed, by the case's distance from the threshold. {told}.",
        "Changed decisions by how near the original's own score lay to the threshold. Lines are exact intervals at "
        f"{n.confidence(causes.confidence)}.",
        partial(figure_bars.draw, bars, "why-distance", "Cases whose decision changed (%)"),
    )


def _interval(part: DistanceBin | LevelCause) -> str:
    return f"{n.percent(part.rate.lower)} to {n.percent(part.rate.upper)}"


def _distance_table(causes: FlipCauses) -> Table:
    titles = columns("Distance from the threshold", "#Cases", "#Changed", "#Share", "Interval", "#Margin up to")
    rows = tuple(
        row(_share(b), n.count(b.n), n.count(b.flips), n.percent(b.rate.estimate), _interval(b), n.small(b.largest))
        for b in causes.bins
    )
    return Table("Changed decisions by distance of the original's score, as shares of the cases.", titles, rows)


def _level_table(causes: FlipCauses) -> Table:
    shown = causes.levels[:LISTED]
    caption = "Changed decisions by group, the most telling first."
    if len(causes.levels) > len(shown):
        caption = f"The {len(shown)} most telling of {n.count(len(causes.levels))} groups; report.json holds all."
    caption += " Expected: from the distances of the group's cases alone."
    titles = columns(
        "Group", "#Cases", "#Changed", "#Expected", "#Share", "Interval", "#Relative risk", "#P", "#P adjusted"
    )
    return Table(caption, titles, tuple(_level_row(part) for part in shown), wide=True)


def _level_row(part: LevelCause) -> tuple[Cell, ...]:
    risk = "only here" if isinf(part.relative_risk) else n.ratio(part.relative_risk)
    return row(
        f"{part.column}: {part.value}",
        n.count(part.n),
        n.count(part.flips),
        f"{part.expected:.1f}",
        n.percent(part.rate.estimate),
        _interval(part),
        risk,
        n.small(part.p_value),
        n.small(part.p_adjusted),
    )


def _caution(causes: FlipCauses) -> str:
    text = (
        f"Descriptive, and no part of the verdict: exact intervals at {n.confidence(causes.confidence)}, Fisher's "
        "exact test against all other cases, adjusted by Holm for the number of groups."
    )
    if causes.clustered:
        text += " Some patients have several cases, which these figures take as independent: they are too sharp."
    return text


def _near_misses(causes: FlipCauses) -> Table:
    labelled = any(miss.label for miss in causes.near_misses)
    titles = columns("Case", *(["Finding"] if labelled else []), "#Original's margin", "#Candidate's margin")
    rows = [
        row(m.case_id, *([m.label] if labelled else []), n.small(m.reference_margin), n.small(m.candidate_margin))
        for m in causes.near_misses
    ]
    return Table("Nearly changed: decided alike, but the candidate's scores nearest to turning.", titles, tuple(rows))
