"""Numbers and names as a reader sees them: sensible rounding, units always, NaN as a dash, names made harmless."""

from __future__ import annotations

import unicodedata
from math import floor, isfinite, log10

from primum.config import kind_of

NOTHING = "–"
NBSP = "\N{NO-BREAK SPACE}"
TOO_FEW = "n too small"
RATES = ("sensitivity", "specificity", "accuracy")
VALUES = ("error", "agreement")
"""Endpoints in the units of the label, whose size nobody knows before."""
_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F}


def clean(text: object) -> str:
    """`text` on one line without control characters: a name may not steer a terminal, a parser or the eye."""
    kept = []
    for character in str(text):
        if character in "\t\n\r":
            kept.append(" ")
        elif unicodedata.category(character) in ("Cc", "Cs") or ord(character) in _BIDI:
            kept.append("\N{REPLACEMENT CHARACTER}")
        else:
            kept.append(character)
    return "".join(kept)


def shorten(text: str, length: int) -> str:
    """At most `length` characters, with an ellipsis in the middle where some are left out."""
    text = clean(text)
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def count(value: float) -> str:
    """A whole number with thousands separated."""
    return f"{value:,.0f}" if isfinite(value) else NOTHING


def plural(value: int, one: str, many: str = "") -> str:
    """For example "1 case", "1,248 cases"."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def percent(value: float) -> str:
    """A share in percent, one decimal."""
    return f"{value * 100:.1f}%" if isfinite(value) else NOTHING


def confidence(value: float) -> str:
    """A confidence or an error in percent, with the decimals that a shared one has: "95%", "97.5%", "98.33%"."""
    return f"{100 * value:.4g}%"


def probability(value: float) -> str:
    """A chance in whole percent, never rounded to certainty."""
    if not isfinite(value):
        return NOTHING
    if 0 < value < 0.01:
        return "<1%"
    return ">99%" if 0.99 < value < 1 else f"{value:.0%}"


def signed(value: float, digits: int) -> str:
    """With its sign, a true minus, and no sign on what rounds to zero."""
    if not isfinite(value):
        return NOTHING
    text = f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text[1:] if not float(f"{value:.{digits}f}") else text


def is_rate(name: str) -> bool:
    """Whether an endpoint is a share: "sensitivity[melanoma]" is."""
    return kind_of(name) in RATES


def amount(number: float) -> str:
    """A number in the units of the label: four digits that count, thousands separated."""
    if not isfinite(number):
        return NOTHING
    if number == 0:
        return "0"
    if not 1e-4 <= abs(number) < 1e9:
        return f"{number:.3e}".replace("-", "\N{MINUS SIGN}")
    return f"{number:,.{_decimals(number, 4)}f}".replace("-", "\N{MINUS SIGN}")


def signed_amount(number: float) -> str:
    """A difference in such units, three digits that count."""
    return _signed_amounts(number)[0]


def _signed_amounts(*numbers: float) -> list[str]:
    """Differences with as many decimals as give the largest three digits that count."""
    largest = max((abs(v) for v in numbers if isfinite(v)), default=0.0)
    if largest and not 1e-4 <= largest < 1e9:
        return [f"{v:+.2e}".replace("-", "\N{MINUS SIGN}") if isfinite(v) else NOTHING for v in numbers]
    decimals = _decimals(largest, 3) if largest else 0
    return [signed(v, decimals) for v in numbers]


def _decimals(number: float, digits: int) -> int:
    return max(0, digits - 1 - floor(log10(abs(number))))


def level(name: str, number: float) -> str:
    """An endpoint's own value: a share in percent, errors in units of the label, scores of 0 to 1 as they are."""
    if is_rate(name):
        return percent(number)
    if kind_of(name) in VALUES:
        return amount(number)
    return f"{number:.4f}" if isfinite(number) else NOTHING


def difference(name: str, number: float) -> str:
    """A difference of an endpoint: percentage points for shares."""
    if not isfinite(number):
        return NOTHING
    if kind_of(name) in VALUES:
        return signed_amount(number)
    return f"{signed(number * 100, 2)} pp" if is_rate(name) else signed(number, 4)


def interval(name: str, lower: float, upper: float) -> str:
    """An interval of such a difference."""
    if not (isfinite(lower) and isfinite(upper)):
        return NOTHING
    if kind_of(name) in VALUES:
        return " to ".join(_signed_amounts(lower, upper))
    if is_rate(name):
        return f"{signed(lower * 100, 2)} to {signed(upper * 100, 2)} pp"
    return f"{signed(lower, 4)} to {signed(upper, 4)}"


def margin(name: str, number: float) -> str:
    """A margin of such a difference."""
    if not isfinite(number):
        return NOTHING
    return f"{number * 100:g} pp" if is_rate(name) else f"{number:g}"


def p_value(number: float) -> str:
    """A p-value, three decimals."""
    if not isfinite(number):
        return NOTHING
    return "<0.001" if number < 0.001 else f"{number:.3f}"


def plain(number: float, digits: int = 3) -> str:
    """A plain figure with a true minus."""
    return f"{number:.{digits}f}".replace("-", "\N{MINUS SIGN}") if isfinite(number) else NOTHING


def threshold(value: float) -> str:
    """A threshold on a score."""
    return f"{value:.4g}" if isfinite(value) else NOTHING


def within(lower: float, upper: float, digits: int = 3) -> str:
    """An interval of a figure that has no sign."""
    return f"{plain(lower, digits)} to {plain(upper, digits)}" if isfinite(lower) and isfinite(upper) else NOTHING


def between(lower: float, upper: float, digits: int = 3) -> str:
    """An interval of a signed figure."""
    return f"{signed(lower, digits)} to {signed(upper, digits)}" if isfinite(lower) and isfinite(upper) else NOTHING


def ratio(value: float) -> str:
    """How many times."""
    if not isfinite(value):
        return NOTHING
    digits = 0 if value >= 100 else 1 if value >= 2 else 2
    return f"{value:.{digits}f}×"


def span(lower: float, upper: float) -> str:
    """An interval of a ratio."""
    return f"{ratio(lower).rstrip('×')} to {ratio(upper)}" if isfinite(lower) and isfinite(upper) else NOTHING


def milliseconds(value: float, absent: str = NOTHING, unit: bool = True) -> str:
    """A duration in ms, three digits that count."""
    if not isfinite(value):
        return absent
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}{NBSP + 'ms' if unit else ''}"


def size(value: float) -> str:
    """Bytes in decimal units."""
    if not isfinite(value) or value <= 0:
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.{1 if value < 100 * factor else 0}f}{NBSP}{unit}"
    return f"{value:.0f} bytes"


def small(value: float) -> str:
    """A figure that may be tiny."""
    if not isfinite(value):
        return NOTHING
    return "0" if value == 0 else f"{value:.2g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def scores(reference: float, candidate: float, threshold: float) -> tuple[str, str]:
    """Two scores with as many decimals as show on which side of the threshold each lies."""
    known = [v for v in (reference, candidate) if isfinite(v)]
    digits = 4
    while digits < 10 and any((float(f"{v:.{digits}f}") >= threshold) != (v >= threshold) for v in known):
        digits += 1

    def shown(value: float) -> str:
        return f"{value:.{digits}f}" if isfinite(value) else "not a number"

    return shown(reference), shown(candidate)
