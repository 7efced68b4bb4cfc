"""`primum serve` with shadow sampling, over HTTP: what is told of an artifact that is barred, and after a restart."""

import json

import numpy as np
import pytest
from ladders import rows, spoiled_model
from served import FEATURES, build_artifact, call, risk_model, server
from shell import primum as run

import primum
from primum.serving.security.audit import verify_audit

INFER = "/v2/models/risk/infer"


def _decisions(port, cases):
    data = cases.ravel().tolist()
    tensor = {"name": "input", "shape": [len(cases), FEATURES], "datatype": "FP32", "data": data}
    status, _, answer = call(port, "POST", INFER, {"inputs": [tensor]})
    assert status == 200
    return next(output["data"] for output in answer["outputs"] if output["name"] == "decision")


def _metrics(port):
    text = call(port, "GET", "/metrics")[2].decode()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}


def test_a_barred_artifact_is_told_everywhere_and_stays_barred(tmp_path):
    folder = build_artifact(tmp_path / "artifact", spoiled_model(), reference=risk_model(), band=1e-6)
    plain = build_artifact(tmp_path / "plain")
    with primum.load(plain) as predictor:
        wanted = predictor.decide(predictor.predict_tensor(rows())).tolist()
    options = (f"risk={folder}", "--state", tmp_path / "state")
    with server(*options, "--shadow", 1, "--audit", tmp_path / "audit.jsonl") as port:
        before = call(port, "GET", "/v2/models/risk")[2]
        version = before["versions"][0]
        assert before["properties"]["shadow"].startswith("1 of the cases") and "barred" not in before["properties"]
        artifact = f'{{artifact="{version}",model="risk"}}'
        assert _metrics(port)[f"primum_artifact_barred{artifact}"] == 0
        assert _decisions(port, rows()) != wanted
        _until(lambda: "barred" in call(port, "GET", "/v2/models/risk")[2]["properties"])
        assert _decisions(port, rows()) == wanted
        seen = _metrics(port)
    assert seen[f"primum_artifact_barred{artifact}"] == 1
    assert seen[f"primum_flip_test_log_evidence{artifact}"] >= np.log(20)
    assert seen[f"primum_flip_test_most{artifact}"] == 0.005
    lower = seen[f'primum_flip_test_bound{{artifact="{version}",model="risk",side="lower"}}']
    assert seen[f"primum_flip_test_flips{artifact}"] >= 2 and 0 < lower < 1
    compared = seen[f"primum_flip_test_cases{artifact}"]
    dropped = sum(value for name, value in seen.items() if name.startswith("primum_shadow_dropped_total"))
    assert seen['primum_shadow_sampled_total{model="risk"}'] == compared + dropped == 400
    assert seen['primum_ladder_rung{model="risk"}'] == 0
    # The background is nobody's request.
    answered = [v for k, v in seen.items() if k.startswith("primum_inference_requests_total") and "answered" in k]
    assert sum(answered) < 400 / 32 * 4

    assert verify_audit(tmp_path / "audit.jsonl").records == 3
    records = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    (barred,) = [record for record in records if record["what"] == "barred"]
    assert barred["sha256"].startswith(version) and barred["cases"] > 0 and barred["who"] == "shadow sampling"

    with server(*options) as port:
        assert _decisions(port, rows()) == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [(["--shadow", "0.1"], "there is none: serve a guarded"), (["--most-flips", "1.5"], "no share")],
)
def test_options_that_make_no_sense_end_in_one_line(artifact, given, said):
    done = run("serve", artifact, *given)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def _until(holds):
    import time

    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
