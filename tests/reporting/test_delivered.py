import hashlib
import subprocess
from pathlib import Path

from primum.reporting.delivered import delivered, measured
from primum.study.result import StudyResult


def test_files_of_the_models_alone_and_their_digest_as_sha256sum_would_have_it(
    results: dict[str, StudyResult], tmp_path: Path
) -> None:
    for name in ("model/b.bin", "model/a.xml", "reference/model.onnx", "evidence/report.html", "golden.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    made = delivered(results["proven"], tmp_path)
    assert list(made.files) == ["model/a.xml", "model/b.bin", "reference/model.onnx"]
    listed = subprocess.run(["sha256sum", *made.files], cwd=tmp_path, capture_output=True, check=True).stdout
    assert made.digest == hashlib.sha256(listed).hexdigest()


def test_what_is_said_is_of_the_delivered_and_not_of_the_refused(
    results: dict[str, StudyResult], tmp_path: Path
) -> None:
    refused = results["inconclusive"]
    made = delivered(refused, tmp_path)
    assert made.verdict is refused.winner.verdict is not refused.verdict and made.part == "selection"
    proven = results["proven"]
    made = delivered(proven, tmp_path)
    assert made.verdict is proven.verdict and made.part == "confirmation"


def test_every_endpoint_of_every_group(results: dict[str, StudyResult]) -> None:
    verdict = results["proven"].verdict
    items = list(measured(verdict))
    assert [i.part for i in items[:4]] == list(verdict.components) and {i.group for i in items[:4]} == {""}
    assert {i.group for i in items[4:]} == {"sex=F", "sex=M", "age=under 40", "age=40 to 64", "age=65 and over"}
    assert list(measured(None)) == []
