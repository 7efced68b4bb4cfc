"""The page: what is said, in which order."""

from __future__ import annotations

from primum.reporting import numbers as n
from primum.reporting.blocks import Page
from primum.reporting.calibration import calibration_section
from primum.reporting.comparison import comparison_section
from primum.reporting.decisions import decisions_section
from primum.reporting.deliveries import deliveries_section
from primum.reporting.endpoints import endpoints_section
from primum.reporting.flips import flips_section
from primum.reporting.guard import guard_section
from primum.reporting.headline import banners, headline
from primum.reporting.method import method_section
from primum.reporting.operating import operating_section
from primum.reporting.scores import scores_section
from primum.reporting.speed import cards, latency_section
from primum.reporting.subgroups import subgroups_section
from primum.reporting.trials import front_section, trials_section
from primum.reporting.why import why_section
from primum.study.result import StudyResult

_CLOSING = (
    "This is evidence for a reviewer. It is not a clearance, an approval or a certificate, and it replaces no clinical "
    "judgement.",
    "It compares one model with its own original on these cases and on this machine. It does not say that the original "
    "is good, nor how either does on other patients, scanners, sites or machines.",
    "No signature is made automatically.",
)
_SIGNATURE = ("Reviewed by", "Role", "Decision", "Date and signature")


def compose(result: StudyResult) -> Page:
    """Everything the report says, most important first."""
    return Page(
        name=n.clean(result.model.name),
        made=n.clean(f"{_moment(result.created)} · primum {result.version} · {result.data.name}"),
        banners=banners(result),
        headline=headline(result),
        cards=cards(result),
        sections=(
            *([deliveries] if (deliveries := deliveries_section(result)) else []),
            endpoints_section(result),
            subgroups_section(result),
            decisions_section(result),
            *([calibration] if (calibration := calibration_section(result)) else []),
            *([operating] if (operating := operating_section(result)) else []),
            scores_section(result),
            flips_section(result),
            *([why_section(result.why.layers, result.why.cases)] if result.why else []),
            *([guard] if (guard := guard_section(result)) else []),
            latency_section(result),
            front_section(result),
            comparison_section(result),
            trials_section(result),
            method_section(result),
        ),
        closing=_CLOSING,
        signature=_SIGNATURE,
    )


def _moment(created: str) -> str:
    """An ISO time as people write it; anything else as it is."""
    if created[10:11] != "T":
        return created
    return f"{created[:10]} {created[11:]}".replace("+00:00", " UTC")
