"""Numbers and names as a reader sees them: sensible rounding, units always, NaN as a dash, names made harmless."""

from __future__ import annotations

import unicodedata
from math import isfinite

NOTHING = "–"
NBSP = "\N{NO-BREAK SPACE}"
TOO_FEW = "n too small"
RATES = ("sensitivity", "specificity")
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


def level(name: str, value: float) -> str:
    """An endpoint's own value: a share in percent, AUROC and Brier score as they are."""
    if name in RATES:
        return percent(value)
    return f"{value:.4f}" if isfinite(value) else NOTHING


def difference(name: str, value: float) -> str:
    """A difference of an endpoint: percentage points for shares."""
    if not isfinite(value):
        return NOTHING
    return f"{signed(value * 100, 2)} pp" if name in RATES else signed(value, 4)


def interval(name: str, lower: float, upper: float) -> str:
    """An interval of such a difference."""
    if not (isfinite(lower) and isfinite(upper)):
        return NOTHING
    if name in RATES:
        return f"{signed(lower * 100, 2)} to {signed(upper * 100, 2)} pp"
    return f"{signed(lower, 4)} to {signed(upper, 4)}"


def margin(name: str, value: float) -> str:
    """A margin of such a difference."""
    if not isfinite(value):
        return NOTHING
    return f"{value * 100:g} pp" if name in RATES else f"{value:g}"


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
