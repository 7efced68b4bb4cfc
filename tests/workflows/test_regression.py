import copy
import json

import pytest

from primum.errors import InputError
from primum.workflows.regression import Change, compare_reports

MACHINE = {"cpu": "A", "architecture": "x86_64", "features": ["avx2"], "cores": 4, "libraries": {"torch": "2.13.0"}}


def part(name, outcome="NON_INFERIOR", difference=-0.001, margin=0.02):
    return {"name": name, "outcome": outcome, "reference": 0.9, "candidate": 0.9 + difference, "difference": difference,
            "margin": margin}  # fmt: skip


def timings(ratio=3.0, spread=0.1, contended=False):
    return {"ratio": ratio, "ratio_lower": ratio - spread, "ratio_upper": ratio + spread, "p50": 2.0 / ratio,
            "contended": contended}  # fmt: skip


def report(**changes):
    """A report.json reduced to what is read."""
    base = {
        "format": "primum-report/1",
        "machine": MACHINE,
        "model": {"digest": "abc"},
        "data": {"name": "test", "cases": 1000},
        "winner": {"key": "k1", "size_bytes": 1_000_000, "timings": None},
        "final": {"k1": timings()},
        "verdict": {
            "outcome": "NON_INFERIOR", "n": 400, "n_patients": 380, "confidence": 0.95, "threshold": 0.5,
            "components": [part("sensitivity"), part("specificity"), part("brier", margin=0.01)],
        },
        "verdict_recipe": "openvino[int8]",
    }  # fmt: skip
    base = copy.deepcopy(base)
    for path, value in changes.items():
        place = base
        *above, last = path.split("__")
        for name in above:
            place = place[int(name) if isinstance(place, list) else name]
        place[int(last) if isinstance(place, list) else last] = value
    return base


def changes(found):
    return {item.name if item.kind == "quality" else item.kind: item.change for item in found.items}


def test_the_same_report_has_not_regressed():
    found = compare_reports(report(), report())
    assert set(changes(found).values()) == {Change.SAME} and not found.regressed and found.notes == ()
    assert set(changes(found)) == {"verdict", "sensitivity", "specificity", "brier", "speed", "size"}


def test_a_lower_outcome_or_a_difference_moved_beyond_its_margin_is_a_regression():
    worse = report(verdict__components__0=part("sensitivity", "INCONCLUSIVE"), verdict__outcome="INCONCLUSIVE")
    found = compare_reports(report(), worse)
    assert found.regressed and changes(found)["sensitivity"] is changes(found)["verdict"] is Change.REGRESSED
    back = changes(compare_reports(worse, report()))
    assert back["sensitivity"] is back["verdict"] is Change.BETTER
    moved = report(verdict__components__1=part("specificity", difference=-0.0211))
    assert changes(compare_reports(report(), moved))["specificity"] is Change.REGRESSED
    within = report(verdict__components__1=part("specificity", difference=-0.0209))
    assert changes(compare_reports(report(), within))["specificity"] is Change.SAME


def test_slower_beyond_tolerance_and_noise():
    assert changes(compare_reports(report(), report(final__k1=timings(2.5))))["speed"] is Change.REGRESSED
    assert changes(compare_reports(report(), report(final__k1=timings(2.8))))["speed"] is Change.SAME
    noisy = compare_reports(report(), report(final__k1=timings(2.5, spread=1.0)))
    assert changes(noisy)["speed"] is Change.UNCLEAR and not noisy.regressed
    busy = compare_reports(report(), report(final__k1=timings(2.5, contended=True)))
    assert changes(busy)["speed"] is Change.UNCLEAR and "busy" in busy.items[-2].detail
    assert changes(compare_reports(report(), report(final__k1=timings(4.0))))["speed"] is Change.BETTER
    assert changes(compare_reports(report(), report(final__k1=timings(2.5)), tolerance=0.3))["speed"] is Change.SAME


def test_larger_files():
    assert changes(compare_reports(report(), report(winner__size_bytes=1_060_000)))["size"] is Change.REGRESSED
    assert changes(compare_reports(report(), report(winner__size_bytes=1_040_000)))["size"] is Change.SAME


def test_another_machine_says_so_and_its_speed_is_not_compared():
    found = compare_reports(report(), report(machine={**MACHINE, "cpu": "B"}, final__k1=timings(1.0)))
    assert changes(found)["speed"] is Change.NOT_COMPARABLE and changes(found)["sensitivity"] is Change.SAME
    assert not found.regressed and "another machine: cpu A before, B now" in found.notes[0]
    library = compare_reports(report(), report(machine={**MACHINE, "libraries": {"torch": "2.14.0"}}))
    assert "torch 2.13.0 before, 2.14.0 now" in library.notes[0]
    unnamed = compare_reports(report(), {k: v for k, v in report(final__k1=timings(1.0)).items() if k != "machine"})
    assert changes(unnamed)["speed"] is Change.NOT_COMPARABLE and "does not name its machine" in unnamed.notes[0]


def test_the_same_cases_under_another_name_are_the_same_data():
    """A renamed file must not hide that quality got worse."""
    before = report(data__digest="d1")
    worse = report(data__digest="d1", data__name="renamed", verdict__components__0=part("sensitivity", "INFERIOR"))
    found = compare_reports(before, worse)
    assert found.compared and found.regressed and changes(found)["sensitivity"] is Change.REGRESSED
    other = compare_reports(before, report(data__digest="d2"))
    assert not other.compared and "digest d1 before, d2 now" in other.notes[0]


def test_other_data_or_another_policy_says_so_and_quality_is_not_compared():
    for other, word in (
        (report(verdict__n=500), "another data: n 400 before, 500 now"),
        (report(data__name="other"), "another data: name test"),
        (report(verdict__threshold=0.4), "another policy: threshold 0.5 before, 0.4 now"),
        (report(verdict__components__0=part("sensitivity", "INFERIOR", margin=0.05)), "margin of sensitivity"),
    ):
        found = compare_reports(report(), other)
        assert changes(found)["sensitivity"] is Change.NOT_COMPARABLE and not found.regressed
        assert word in " ".join(found.notes) and changes(found)["speed"] is Change.SAME
    assert "another model" in compare_reports(report(), report(model__digest="xyz")).notes[0]


def test_an_endpoint_that_is_gone_is_named():
    shorter = report()
    del shorter["verdict"]["components"][2]
    found = compare_reports(report(), shorter)
    assert changes(found)["brier"] is Change.NOT_COMPARABLE and "only in the previous" in found.items[3].detail


def test_files_of_every_kind(tmp_path):
    def saved(name, content):
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    whole = saved("report.json", report())
    validation = saved("validation.json", {"recipe": "r", "verdict": report()["verdict"]})
    benchmark = saved("benchmark.json", {"recipe": "r", "machine": MACHINE, "delivered": timings(2.0)})
    assert set(changes(compare_reports(whole, validation))) == {"verdict", "sensitivity", "specificity", "brier"}
    assert changes(compare_reports(whole, benchmark)) == {"speed": Change.REGRESSED}
    contestants = {"machine": MACHINE, "contestants": [
        {"name": "original (nets:build)", "timings": timings(1.0), "size_bytes": 9},
        {"name": "/runs/1/out/artifact", "timings": timings(2.0), "size_bytes": 5},
    ]}  # fmt: skip
    later = copy.deepcopy(contestants)
    later["contestants"][1] |= {"name": "/runs/2/out/artifact", "timings": timings(1.0)}
    assert changes(compare_reports(contestants, later)) == {"speed": Change.REGRESSED, "size": Change.SAME}
    with pytest.raises(InputError, match="nothing in common"):
        compare_reports(validation, benchmark)


def test_what_is_no_report_is_refused(tmp_path):
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "list.json").write_text("[1]")
    for wrong in (tmp_path / "absent.json", tmp_path / "text.json", tmp_path / "list.json", {"a": 1},
                  {"verdict": {"outcome": "NON_INFERIOR", "components": [{"name": "x"}]}}):  # fmt: skip
        with pytest.raises(InputError):
            compare_reports(wrong, report())
    with pytest.raises(InputError, match="does not know"):
        compare_reports(report(), report(verdict__outcome="SUPERB"))
    with pytest.raises(InputError, match="tolerances"):
        compare_reports(report(), report(), tolerance=1.0)


def level(value, *parts, n=60, positives=20):
    return {"column": "site", "value": value, "n": n, "n_patients": n, "n_positive": positives,
            "outcome": "INSUFFICIENT", "components": list(parts),
            "reported": [part("brier", difference=-1.0)]}  # fmt: skip


def with_levels(*levels):
    whole = report()
    whole["verdict"]["subgroups"] = list(levels)
    return whole


def test_a_subgroup_that_lost_beyond_its_margin_is_a_regression_by_name():
    before = with_levels(level("small", part("sensitivity", "INSUFFICIENT", 0.0), part("specificity", difference=0.0)))
    after = with_levels(
        level("small", part("sensitivity", "INSUFFICIENT", -0.2), part("specificity", difference=-0.01))
    )
    found = compare_reports(before, after)
    assert found.regressed and changes(found)["site=small sensitivity"] is Change.REGRESSED
    assert changes(found)["site=small specificity"] is changes(found)["sensitivity"] is Change.SAME
    assert "site=small brier" not in changes(found), "what a subgroup only reports decides nothing"
    (item,) = [i for i in found.items if i.change is Change.REGRESSED]
    assert "moved by -0.2000 (margin 0.02)" in item.detail and (item.previous, item.current) == (0.9, 0.7)
    assert changes(compare_reports(after, before))["site=small sensitivity"] is Change.BETTER
    lower = with_levels(level("small", part("sensitivity", "INFERIOR", 0.0)))
    assert changes(compare_reports(before, lower))["site=small sensitivity"] is Change.REGRESSED


def test_what_cannot_be_compared_of_a_subgroup_is_told():
    small, large = (level(value, part("sensitivity")) for value in ("small", "large"))
    found = compare_reports(with_levels(small), with_levels(large))
    told = {i.name: (i.change, i.detail) for i in found.items}
    assert told["site=small sensitivity"] == (Change.NOT_COMPARABLE, "only in the previous report")
    assert told["site=large sensitivity"] == (Change.NOT_COMPARABLE, "only in the new report")
    regrouped = compare_reports(with_levels(small), with_levels(level("small", part("sensitivity"), n=61)))
    (item,) = [i for i in regrouped.items if i.name.startswith("site=small")]
    assert item.change is Change.NOT_COMPARABLE and "another subgroup: n 60 before, 61 now" in item.detail
    bare = with_levels(level("small"))
    assert changes(compare_reports(bare, bare))["site=small"] is Change.NOT_COMPARABLE
    assert changes(compare_reports(bare, with_levels(small)))["site=small sensitivity"] is Change.NOT_COMPARABLE


def test_an_endpoint_without_a_difference_is_not_called_the_same():
    """NaN is null in JSON."""
    blank = {**part("sensitivity", "NOT_ASSESSED"), "difference": None}
    whole, sub = report(verdict__components__0=blank), with_levels(level("small", blank))
    for both, name in ((whole, "sensitivity"), (sub, "site=small sensitivity")):
        (item,) = [i for i in compare_reports(both, both).items if i.name == name]
        assert item.change is Change.NOT_COMPARABLE
        assert item.detail == "NOT_ASSESSED before, NOT_ASSESSED now; no difference from the original to compare"
    assert changes(compare_reports(report(), whole))["sensitivity"] is Change.REGRESSED
    assert changes(compare_reports(whole, report()))["sensitivity"] is Change.BETTER
    unbounded = report(verdict__components__0=part("sensitivity", "NOT_ASSESSED", margin=None))
    assert changes(compare_reports(unbounded, unbounded))["sensitivity"] is Change.NOT_COMPARABLE


def test_reports_as_the_validator_makes_them_name_the_subgroup():
    import numpy as np

    from primum.reporting.data import plain
    from primum.workflows.validator import QuantizationValidator

    inputs = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    sick = (inputs[:, 0] > 0).astype(int)
    few = np.concatenate([np.flatnonzero(sick)[:20], np.flatnonzero(1 - sick)[:40]])
    site = np.where(np.isin(np.arange(600), few), "small", "large")
    inputs[:, 1] = np.isin(np.arange(600), few[:4])
    made = [
        {"verdict": plain(QuantizationValidator().validate_quantization(
            lambda b: 4 * b[:, :1], own, data=(inputs, sick, None, {"site": site})).verdict)}
        for own in (lambda b: 4 * b[:, :1], lambda b: np.where(b[:, 1:] == 1, -1, 4 * b[:, :1]))
    ]  # fmt: skip
    found = changes(compare_reports(*made))
    assert found["site=small sensitivity"] is Change.REGRESSED and found["site=large sensitivity"] is Change.SAME
