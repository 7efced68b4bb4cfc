"""The figures as Markdown: docs/serving-bench.md, and what is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from bursts import Burst
from contestants import CONTESTANTS
from generator import DEADLINE_MS, LATE_SHARE, OTHER_CORES, OWN_CORES, Measured
from scenarios import CLOSED, LOADS, OVERLOAD, Record
from summary import AA_RUN, DIFFERS, INVALID, Figure, Summary, good_rate

_ENOUGH = {"p50": 1, "p90": 44, "p99": 459, "p999": 4603}
"""Answers below which a quantile is not told: fewer hold no 99 % upper bound of it."""
_NONE = "–"


def quantile(name: str) -> Callable[[Measured], float | None]:
    """Milliseconds; None where too few were answered."""

    def value(measured: Measured) -> float | None:
        found = measured.load.latency_ms
        return found.get(name) if found["n"] >= _ENOUGH[name] else None

    return value


def cell(template: str, *figures: tuple[Figure | None, str]) -> str:
    """Figures with their formats ("ms" for milliseconds) in a template, and INVALID where any of them is."""
    told = [_NONE if found is None else found.text(_shape(found, shape)) for found, shape in figures]
    invalid = any(found is not None and not found.valid for found, _ in figures)
    return template.format(*told) + (INVALID if invalid else "")


def _shape(figure: Figure, shape: str) -> str:
    """Milliseconds to three digits."""
    if shape != "ms":
        return shape
    return ".3f" if figure.median < 1 else ".2f" if figure.median < 10 else ",.0f"


def _spread(figure: Figure | None, shape: str) -> str:
    """With its range over rounds."""
    if figure is None:
        return _NONE
    return figure.text(shape, spread=True) + ("" if figure.valid else INVALID)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def closed_table(summary: Summary) -> list[str]:
    """Closed loops and what they cost."""
    heads = ["", *(f"{c} at a time: 200s/s, p50 / p99 ms" for c in CLOSED), "x floor at 32"]
    heads += ["CPU us a request", "cores server + generator"]
    rows = []
    for name in summary.names:
        row = [name]
        for c in CLOSED:
            run = f"closed {c}"
            p50, p99 = ((summary.run(name, run, quantile(q)), "ms") for q in ("p50", "p99"))
            row.append(cell("{}, {} / {}", (summary.run(name, run, good_rate), ",.0f"), p50, p99))
        row.append(_spread(summary.ratio(name, AA_RUN, good_rate), ".2f"))
        cost = summary.run(
            name, "closed 32", lambda m: m.server_cores / m.load.good_rate * 1e6 if m.load.good_rate else None
        )
        server = summary.run(name, "closed 32", lambda m: m.server_cores)
        own = summary.run(name, "closed 32", lambda m: m.generator_cores)
        row += [cell("{}", (cost, ",.0f")), cell("{} + {}", (server, ".2f"), (own, ".2f"))]
        rows.append(row)
    return _table(heads, rows)


def open_table(summary: Summary) -> list[str]:
    """Poisson arrivals at shares of each one's own saturation."""
    heads = ["", "saturation 200s/s"]
    heads += [f"{share:.0%}: p50 / p99 ms, in {DEADLINE_MS:.0f} ms" for share in LOADS]
    rows = []
    for name in summary.names:
        row = [name, cell("{}", (summary.plain(name, lambda r: r.saturation), ",.0f"))]
        for share in LOADS:
            run = f"open {share:.0%}"
            p50, p99 = ((summary.run(name, run, quantile(q)), "ms") for q in ("p50", "p99"))
            row.append(cell("{} / {}, {}", p50, p99, (summary.run(name, run, _in_time), ".1%")))
        rows.append(row)
    return _table(heads, rows)


def overload_table(summary: Summary) -> list[str]:
    """Twice the saturation, then half a second later."""
    heads = ["", "offered/s", "200s/s", f"200s in {DEADLINE_MS:.0f} ms /s", "of its saturation", "p99 ms of 200s"]
    heads += ["not 200", "0.5 s after: one request", "then 32 at a time, of its saturation"]
    rows = []
    for name in summary.names:
        records = summary.of(name)
        best = {r.round: r.saturation for r in records}
        rows.append(
            [
                name,
                cell("{}", (summary.run(name, "overload", lambda m: m.load.offered / m.load.seconds), ",.0f")),
                cell("{}", (summary.run(name, "overload", good_rate), ",.0f")),
                cell("{}", (summary.run(name, "overload", lambda m: m.load.goodput), ",.0f")),
                # The offered rate is twice the saturation of the same round.
                _spread(summary.run(name, "overload", lambda m: m.load.goodput / (m.load.rate / OVERLOAD)), ".0%"),
                cell("{}", (summary.run(name, "overload", quantile("p99")), "ms")),
                _failures([r.runs["overload"] for r in records if r.runs]),
                ", ".join(f"{r.after_status or 'none'} in {r.after_ms:,.1f} ms" for r in records),
                ", ".join(f"{r.runs['after'].load.good_rate / best[r.round]:.0%}" for r in records if r.runs),
            ]
        )
    return _table(heads, rows)


def bad_table(summary: Summary) -> list[str]:
    """One bad request beside 31 good ones."""
    rows = []
    for name in summary.names:
        kinds: dict[str, list[Burst]] = {}
        for record in summary.of(name):
            for kind, found in (record.bad or {}).items():
                kinds.setdefault(kind, []).extend(found)
        for kind, bursts in kinds.items():
            good = [b.good for b in bursts]
            answers = sorted({str(b.bad or "none") for b in bursts})
            failed = Counter(str(s or "none") for b in bursts for s in b.others)
            told = f"{min(good)} to {max(good)}" if min(good) < max(good) else str(good[0])
            rows.append([name, kind, ", ".join(answers), told, ", ".join(f"{s}: {n}" for s, n in failed.items())])
    return _table(["", "the bad one", "got", "good ones answered, of 31", "the others got"], rows)


def resource_table(summary: Summary) -> list[str]:
    """What each takes beyond requests."""
    heads = [
        "",
        "start s",
        "stop s",
        "processes",
        "PSS MB idle, at the end",
        "idle cores",
        "bytes a request",
        "deferred",
    ]
    rows = []
    for name in summary.names:
        records = summary.of(name)
        stop = cell("{}", (summary.plain(name, lambda r: r.stop_s), ".1f"))
        stop += "" if all(r.left_on_sigterm for r in records) else ", then killed"
        idle, end = summary.plain(name, lambda r: r.idle_mb), summary.plain(name, lambda r: r.end_mb)
        rows.append(
            [
                name,
                cell("{}", (summary.plain(name, lambda r: r.start_s), ".2f")),
                stop,
                cell("{}", (summary.plain(name, lambda r: r.processes), ".0f")),
                cell("{}, {}", (idle, ".0f"), (end, ".0f")),
                cell("{}", (summary.plain(name, lambda r: r.idle_cores), ".3f")),
                cell("{}", (summary.plain(name, lambda r: r.body_bytes), ",.0f")),
                _deferred(records),
            ]
        )
    return _table(heads, rows)


def section(summary: Summary) -> list[str]:
    """One workload."""
    parts = [f"## {summary.workload}", ""]
    if verdict := summary.verdict():
        parts += [f"**{'; '.join(verdict)}.**", ""]
    parts += ["Closed loop:", "", *closed_table(summary)]
    parts += ["", "Open loop, Poisson, at shares of its own saturation:", "", *open_table(summary)]
    parts += ["", "At twice its saturation:", "", *overload_table(summary)]
    parts += ["", "One bad request beside 31 good ones, at once:", "", *bad_table(summary)]
    parts += ["", "Besides:", "", *resource_table(summary), ""]
    if summary.against_ratios:
        parts.append(f"- INVALID: every ratio to the floor: {summary.against_ratios}")
    parts += [f"- INVALID: {reason}" for reason in summary.invalid()]
    parts += [f"- not measured: {failure}" for failure in summary.failures]
    return parts


def page(summaries: Sequence[Summary], skipped: Sequence[str], setting: Sequence[str]) -> str:
    """The whole page. `skipped`: contestants without an environment; `setting`: machine, versions, lengths."""
    parts = [
        "# Serving, against what a user would serve with instead",
        "",
        "`make bench-serving`. Each server is started afresh for every round, in rounds of shuffled order, on the same "
        "machine as the load generator; each runs the same ONNX file on one thread of ONNX Runtime and is asked the "
        "same 32 cases in turn, in its own words. Answers are compared with the file's before anything is timed. "
        "Figures are medians over rounds; ratios are to the floor of the same round, with their range. Latency counts "
        "from the intended time of a request (open loop) and is that of answers 200. The floor is a bare ASGI "
        "application that answers without protocol, validation or batching.",
        "",
        f"INVALID: the generator took up over {LATE_SHARE:.0%} of its arrivals more than 1 ms late or used over "
        f"{OWN_CORES} cores, other work used over {OTHER_CORES} cores, or the floor differed from itself by over "
        f"{DIFFERS:.0%}. The figures then stand for nothing. In an overload, arrivals beyond 2048 connections wait in "
        "the generator; what it could not send is among `not 200`. Only primum is told the deadline: the others have "
        "no way to be told.",
        "",
        *(f"- {name}: {CONTESTANTS[name].setting}" for name in dict.fromkeys(n for s in summaries for n in s.names)),
        *(f"- not measured: {reason}" for reason in skipped),
    ]
    for summary in summaries:
        parts += ["", *section(summary)]
    return "\n".join([*parts, "", *(f"{line}  " for line in setting)]).rstrip() + "\n"


def _in_time(measured: Measured) -> float | None:
    return measured.load.within / measured.load.offered if measured.load.offered else None


def _failures(runs: Sequence[Measured]) -> str:
    """What requests got in place of 200, summed over rounds."""
    total: Counter[str] = Counter()
    for one in runs:
        total.update({code: n for code, n in one.load.status.items() if code != "200"})
        total.update(errors=one.load.errors, unanswered=one.load.unanswered)
        total["never sent"] += one.load.never_sent
    return ", ".join(f"{what}: {n:,}" for what, n in total.items() if n) or _NONE


def _deferred(records: Sequence[Record]) -> str:
    found = {r.deferred for r in records}
    return ", ".join(_NONE if n is None else f"{n} of 32" for n in sorted(found, key=lambda n: n or 0))
