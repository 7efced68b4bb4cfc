"""The pages in a real browser, against a real server."""

import json
import re
import subprocess

import numpy as np
import pytest
from browser import BROWSER, QUIET, steered
from served import FEATURES, build_artifact, call, coarse_model, risk_model, server

from primum.serving.security.access import new_key

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


def dom(address, profile, seconds=6):
    """What the page has become after some looks at the server, as text."""
    command = [BROWSER, *QUIET, f"--user-data-dir={profile}", f"--virtual-time-budget={seconds * 1000}", "--dump-dom"]
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
    page = re.sub(r"<template.*?</template>", "", done.stdout, flags=re.DOTALL)
    return page, " ".join(re.sub(r"<[^>]+>", " ", page).split())


def asked(rows):
    data = rows.astype(float).ravel().tolist()
    return {"inputs": [{"name": "input", "shape": list(rows.shape), "datatype": "FP32", "data": data}]}


def test_the_page_draws_what_the_server_did(tmp_path):
    folder = build_artifact(tmp_path / "a", coarse_model(), reference=risk_model(), verdict="NON_INFERIOR")
    rows = np.random.default_rng(0).normal(0, 1, (60, FEATURES)).astype(np.float32)
    with server(f"risk={folder}") as port:
        for row in rows[:20]:
            assert call(port, "POST", "/v2/models/risk/infer", asked(row[None]))[0] == 200
        assert call(port, "POST", "/v2/models/risk/infer", asked(rows))[0] == 200
        late = {**asked(rows[:1]), "parameters": {"timeout": 1}}
        assert call(port, "POST", "/v2/models/risk/infer", late)[0] in (503, 504)
        page, text = dom(f"http://127.0.0.1:{port}/live", tmp_path / "profile")
        told = call(port, "GET", "/optimization/status")[2]["models"][0]
    assert "ready" in text and "risk non-inferior" in text and told["version"] in text
    p50 = float(re.search(r"Latency ([\d.]+) ms", text)[1])
    assert p50 == pytest.approx(told["batching"]["latency_ms"]["p50"], rel=0.02)
    deferrals = told["deferrals"]
    share = float(re.search(r"Deferred to the original ([\d.]+) %", text)[1])
    assert deferrals["deferred"] > 0 and share == pytest.approx(
        100 * deferrals["deferred"] / deferrals["cases"], rel=0.01
    )
    assert re.search(r"Not answered 1 deadline", text)
    assert page.count("<rect") == len(told["batching"]["batch_sizes"])
    assert page.count('class="s0"') >= 3 and "NaN" not in page


def test_a_guarded_page_shows_nothing_without_a_key_and_nothing_comes_from_elsewhere(artifact, tmp_path):
    key, entry = new_key("monitor")
    (tmp_path / "keys.yaml").write_text(entry.replace("infer", "metrics"))
    with server(f"risk={artifact}", "--keys", tmp_path / "keys.yaml") as port:
        page, text = dom(f"http://127.0.0.1:{port}/live", tmp_path / "profile", 3)
        status, headers, _ = call(port, "GET", "/live")
        assert call(port, "GET", "/optimization/status", None, {"x-api-key": key})[0] == 200
        assert call(port, "GET", "/live/../audit.jsonl")[0] == 404
    assert "a key is needed" in text and "risk" not in text
    assert status == 200 and "default-src 'none'" in headers["content-security-policy"]
    assert not re.search(r"https?://", page) and json.dumps(key) not in page


def test_an_unproven_model_is_called_so_beside_its_name(artifact, unproven, tmp_path):
    with server(f"risk={artifact}", f"inc={unproven}") as port:
        _, text = dom(f"http://127.0.0.1:{port}/live", tmp_path / "profile", 4)
    assert "inc inconclusive UNPROVEN" in text and text.count("UNPROVEN") == 1


def test_the_docs_show_every_operation_and_come_from_here_alone(artifact, tmp_path):
    with server(f"risk={artifact}") as port:
        page, text = dom(f"http://127.0.0.1:{port}/docs", tmp_path / "profile", 3)
        described = call(port, "GET", "/openapi.json")[2]
        headers = call(port, "GET", "/docs")[1]
    operations = [(verb, path) for path, item in described["paths"].items() for verb in item if verb != "parameters"]
    assert f"{len(operations)} operations" in text
    for verb, path in operations:
        assert f"{verb.upper()} {path}" in text
    assert "default-src 'none'" in headers["content-security-policy"]
    assert not re.search(r'(src|href)="https?://', page)


def test_the_docs_try_a_request_with_a_key(artifact, tmp_path):
    key, entry = new_key("nurse")
    (tmp_path / "keys.yaml").write_text(entry)
    rows = np.random.default_rng(0).normal(0, 1, (1, FEATURES)).astype(np.float32)
    answer = 'window.found.querySelector("[data-put=answer]").textContent'
    steps = [
        """window.found = [...document.querySelectorAll(".operation")].find(one =>
            one.querySelector("[data-put=path]").textContent === "/v2/models/{model}/infer"), !!window.found""",
        f"""(() => {{ found.open = true; found.querySelector("textarea").value = {json.dumps(json.dumps(asked(rows)))};
            found.querySelector("form").requestSubmit(); return true }})()""",
        f"/^401/.test({answer}) && {answer}",
        f"""(() => {{ document.getElementById("secret").value = {json.dumps(key)};
            found.querySelector("form").requestSubmit(); return true }})()""",
        f"/^200/.test({answer}) && {answer}",
        'found.querySelector("[data-put=curl]").textContent',
    ]
    with server(f"risk={artifact}", "--keys", tmp_path / "keys.yaml") as port:
        *_, seen, curl = steered(f"http://127.0.0.1:{port}/docs", tmp_path / "profile", steps)
        expected = call(port, "POST", "/v2/models/risk/infer", asked(rows), {"x-api-key": key})[2]
    assert json.loads(seen.partition("\n")[2])["outputs"] == expected["outputs"]
    assert curl.startswith("curl -X POST 'http://127.0.0.1") and key not in curl
