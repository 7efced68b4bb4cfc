import csv
import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

import primum.reporting
from primum.reporting import render
from primum.reporting.page import compose
from primum.reporting.text import WIDTH
from primum.study.result import StudyResult
from primum.validation.verdict import Outcome

from . import conftest
from .conftest import HOSTILE

VOID = {"meta", "link", "br", "img", "hr", "input"}
TASKS = tuple(conftest.TASKS)
NAMES = (*conftest.MAKERS, *TASKS)
SYNTHETIC, UNPROVEN = "SYNTHETIC DATA", "UNPROVEN"
UNPROVEN_TASKS = {"multiclass", "crowded", "ordinal", "multilabel", "unstated", "segmentation"}
ORDER = (
    "deliveries", "endpoints", "subgroups", "decisions", "calibration", "operating", "scores", "flips", "why", "guard",
    "latency", "front", "comparison", "trials", "method",
)  # fmt: skip
DEFAULT = "default, not confirmed by a clinician"


class Page(HTMLParser):
    """Checks that tags nest, and keeps what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="session")
def folders(all_results: dict[str, StudyResult], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = {}
    for name, result in all_results.items():
        out[name] = tmp_path_factory.mktemp(name)
        render(result, out[name])
    return out


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture
def html(folder: Path) -> str:
    return (folder / "report.html").read_text()


@pytest.fixture
def page(html: str) -> Page:
    return Page(html)


def words(folder: Path) -> str:
    return Page((folder / "report.html").read_text()).text


def test_writes_four_files(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {"report.html", "report.json", "report.txt", "flips.csv"}


def test_nothing_outside_is_referenced_and_nothing_runs(html: str, page: Page) -> None:
    assert page.count("script") == page.count("iframe") == page.count("img") == page.count("object") == 0
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                assert (value or "").startswith(("#", "data:,")), (tag, name, value)
    assert "http:" not in html and "https:" not in html and "@import" not in html
    assert not re.findall(r"url\((?!#)", html)


def test_sections_in_order(page: Page) -> None:
    found = [a["id"] for tag, a in page.tags if tag == "section"]
    assert found == [name for name in ORDER if name in found]
    assert {"endpoints", "subgroups", "decisions", "scores", "flips", "latency", "front", "trials", "method"} <= {
        *found
    }
    contents = [a["href"] for tag, a in page.tags if tag == "a"]
    assert contents == [f"#{name}" for name in found]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_references_resolve(html: str, page: Page) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a[k][1:] for _, a in page.tags for k in ("href", "xlink:href") if (a.get(k) or "").startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]*)\)", html)) | {
        a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a
    }
    assert wanted <= set(ids)


def test_tables_and_figures_are_accessible(page: Page) -> None:
    assert all(a.get("scope") in ("col", "row") for tag, a in page.tags if tag == "th")
    assert page.count("caption") == page.count("table")
    assert page.count("figcaption") == page.count("figure") == page.count("svg")
    drawn = [a for _, a in page.tags if a.get("role") == "img"]
    assert len(drawn) == page.count("figure") and all(a["aria-label"] for a in drawn)


@pytest.mark.parametrize("name", ["proven", "inconclusive", "unproven", "hostile"])
def test_all_figures_are_drawn(folders: dict[str, Path], name: str) -> None:
    page = Page((folders[name] / "report.html").read_text())
    found = [a["id"] for tag, a in page.tags if tag == "figure"]
    assert found == ["figure-forest", "figure-roc", "figure-latency", "figure-pareto"]


def test_long_tables_fold_and_paper_shows_them(folders: dict[str, Path]) -> None:
    html = (folders["multilabel"] / "report.html").read_text()
    page = Page(html)
    assert page.count("details") == page.count("summary") > 3
    assert "::details-content { content-visibility: visible" in html.split("@media print")[1]
    assert "Specificity, Hernia" in (folders["multilabel"] / "report.txt").read_text()


@pytest.mark.parametrize("name", TASKS)
def test_each_task_has_its_figures(folders: dict[str, Path], name: str) -> None:
    page = Page((folders[name] / "report.html").read_text())
    found = {a["id"] for tag, a in page.tags if tag == "figure"} - {"figure-latency", "figure-pareto"}
    expected = {"figure-forest", "figure-roc", "figure-calibration"}
    if name in ("regression", "unstated", "segmentation"):
        expected = {"figure-values"} | ({"figure-forest"} if name != "unstated" else set())
    if name in ("assessed", "multilabel"):
        expected |= {"figure-benefit"}
    assert found == expected


def test_loud_words_appear_exactly_where_they_must(folders: dict[str, Path]) -> None:
    expected = {
        SYNTHETIC: {"unproven"},
        UNPROVEN: {"unproven", *UNPROVEN_TASKS},
        DEFAULT: {"inconclusive", "unproven", "unassessed", "ordinal"},
    }
    for loud, where in expected.items():
        for name, folder in folders.items():
            assert (loud in words(folder)) == (name in where), (loud, name)
            text = " ".join((folder / "report.txt").read_text().split())
            assert (loud in text) == (name in where), (loud, name, "txt")


def test_one_default_margin_marks_that_margin_alone(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    margins = result.policy.margins.model_copy(update={"brier": None})
    result = dataclasses.replace(result, policy=result.policy.model_copy(update={"margins": margins}))
    assert [b.text for b in compose(result).banners] == [f"Brier score 0.01: {DEFAULT}."]


def test_a_promise_of_law_is_never_made(folder: Path) -> None:
    for file in folder.iterdir():
        assert "compliant" not in file.read_text().lower()


def test_hostile_names_stay_text(folders: dict[str, Path]) -> None:
    raw = (folders["hostile"] / "report.html").read_text()
    assert "<script" not in raw.lower() and "&lt;script&gt;alert(1)" in raw
    for file in ("report.html", "report.txt", "flips.csv"):
        content = (folders["hostile"] / file).read_text()
        assert "\x1b" not in content and "\u202e" not in content


def test_the_table_of_flips_is_cut_and_says_so(folders: dict[str, Path], results: dict[str, StudyResult]) -> None:
    flips = results["hostile"].verdict.flips
    assert len(flips) > 300
    assert f"The first 50 of {len(flips)} changed decisions" in words(folders["hostile"])
    assert "Rejected because they would have harmed" in words(folders["hostile"])
    assert "first 20 of" in words(folders["hostile"])


def test_flips_csv_holds_all_and_no_formula(folders: dict[str, Path], results: dict[str, StudyResult]) -> None:
    with (folders["hostile"] / "flips.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    flips = results["hostile"].verdict.flips
    assert len(rows) == len(flips)
    assert [float(r["candidate_score"]) for r in rows] == [f.candidate_score for f in flips]
    assert {r["label"] for r in rows} == {"0", "1"}, "a group called label does not hide the label"
    assert all(r["case_id"].startswith("'=cmd") for r in rows)
    assert {r["group label"] for r in rows} == {"'=1+1", "b"}
    assert {r["harmful"] for r in rows} == {"true", "false"}


def test_json_holds_the_whole_result_without_nan(folder: Path) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    data = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert {f.name for f in dataclasses.fields(StudyResult)} <= set(data)


def test_json_says_what_the_result_says(folders: dict[str, Path], results: dict[str, StudyResult]) -> None:
    data, result = json.loads((folders["hostile"] / "report.json").read_text()), results["hostile"]
    assert data["model"]["name"] == HOSTILE
    assert len(data["verdict"]["flips"]) == len(result.verdict.flips)
    assert data["judged"]["candidate"] == result.judged.candidate.tolist()
    assert data["speedup"] == result.speedup and data["front"] == sorted(result.front)
    assert data["verdict"]["outcome"] == data["outcome"] == "INFERIOR"
    assert json.loads((folders["bare"] / "report.json").read_text())["speedup"] is None


def test_text_fits_the_terminal(folder: Path) -> None:
    lines = (folder / "report.txt").read_text().splitlines()
    assert max(map(len, lines)) <= WIDTH == 100
    assert any(re.fullmatch(r"\d+\. How it was judged", line) for line in lines)


def test_twice_the_same_bytes(folder: Path, all_results: dict[str, StudyResult], tmp_path: Path) -> None:
    name = re.sub(r"\d+$", "", folder.name)
    render(all_results[name], tmp_path)
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / file.name).read_bytes(), file.name


def test_headlines(results: dict[str, StudyResult]) -> None:
    def said(name: str) -> str:
        head = compose(results[name]).headline
        return " ".join([head.title, *head.lead])

    proven = (
        "Delivered: OpenVINO INT8 9.2× faster, 3.9× smaller, proven no worse by more than the margins "
        "(non-inferior) on 2,400 patients."
    )
    assert said("proven") == proven
    assert "Nothing lossy was accepted: the original is delivered in a faster, lossless runtime" in said("inconclusive")
    needed = r"about [\d,]+ positives and about [\d,]+ negatives and about [\d,]+ cases would decide"
    assert re.search(needed, said("inconclusive"))
    assert said("unproven").startswith("Delivered on request, UNPROVEN: OpenVINO INT8")
    assert "the same answers on 420 patients (lossless" in said("bare")
    assert "could not be assessed" in said("unassessed")


def test_the_original_as_it_is(results: dict[str, StudyResult]) -> None:
    result = results["inconclusive"]
    result = dataclasses.replace(result, winner=result.baseline)
    assert compose(result).headline.title == "Nothing was accepted: the original is delivered as it is"


def test_absent_figures_say_so(folders: dict[str, Path]) -> None:
    bare = words(folders["bare"])
    assert "Latency by stage was not measured" in bare and "The data name no groups" in bare
    assert "n too small" in bare and "No decision changed" in bare
    assert "nan" not in bare.lower().split()
    assert "no curve and no matrix is drawn" in words(folders["unassessed"])


def test_insufficient_groups_say_what_would_decide(folders: dict[str, Path], results: dict[str, StudyResult]) -> None:
    assert results["proven"].verdict.insufficient == ("age=under 40",)
    text = words(folders["proven"])
    assert "INSUFFICIENT: 1 group too small" in text and "at least 189 positives" in text


def test_a_confirmed_candidate_shows_its_confirmed_outcome(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    assert result.winner.outcome is Outcome.INCONCLUSIVE and result.outcome is Outcome.NON_INFERIOR
    table = next(s for s in compose(result).sections if s.anchor == "trials").blocks[0]
    row = next(cells for cells in table.rows if cells[0].text == "OpenVINO INT8")  # type: ignore[union-attr]
    assert row[1].text.endswith("Non-inferior") and "inconclusive on selection" in row[1].note


def test_the_name_is_the_function_whatever_was_imported_first() -> None:
    assert callable(primum.reporting.render)
    code = "import primum.reporting.render; from primum.reporting import render; assert callable(render)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_loads_neither_matplotlib_nor_jinja() -> None:
    code = "import sys, primum.reporting.render; assert not {'matplotlib', 'jinja2', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
