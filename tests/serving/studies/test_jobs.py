"""Studies in the background of a server: asked for, followed, ended with all their processes, gone on with, kept."""

import asyncio
import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import blobs
import pytest
from served import call, server
from shell import SUPPORT, primum

from primum.artifact.manifest import artifact_digest
from primum.serving.dataplane import Unavailable
from primum.serving.security.access import Scope, new_key
from primum.serving.studies.job import History, Job, State
from primum.serving.studies.jobs import MOST_QUEUED, Jobs
from primum.serving.studies.offered import Study, read_studies
from primum.serving.studies.process import began

OPTIMIZE = "/optimization/optimize-model"
ASKED = {"model_name": "blobs", "optimization_level": "minimal", "target_platforms": ["server"]}
SLEEPY = {"model_name": "sleepy", "optimization_level": "balanced"}
STUDIES = """
out: results
studies:
  blobs:
    model: nets:build
    checkpoint: weights.safetensors
    data: data/manifest.csv
    patient_column: patient_id
    preprocessing: data/preprocessing.yaml
    target: onnxruntime
    threads: 1
  sleepy: {model: "sleepy:build", data: data/manifest.csv, preprocessing: data/preprocessing.yaml}
  missing: {model: "Quillfeather:build", data: Quillfeather.csv}
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """The operator's folder; what a study writes outside of it goes to one of the test's own."""
    folder = tmp_path_factory.mktemp("operator")
    blobs.fit(folder / "weights.safetensors")
    blobs.make_manifest(folder / "data", 140, seed=2, positives=40)
    (folder / "studies.yaml").write_text(STUDIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIMUM_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(SUPPORT / "quick"), str(SUPPORT), os.environ.get("PYTHONPATH", "")])
        )
        yield folder


def follow(port, id, until, seconds=120):
    """The job once it is in the state, and its progress on the way."""
    end, seen = time.monotonic() + seconds, []
    while True:
        job = call(port, "GET", f"/optimization/jobs/{id}")[2]
        if job["progress"] is not None:
            seen.append(job["progress"])
        if until(job):
            return job, seen
        assert time.monotonic() < end, job
        assert job["state"] in ("queued", "running"), job
        time.sleep(0.05)


def group_of(process):
    """(pid, niceness) of all processes of the groups that the server's children lead."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,pgid,ni"], capture_output=True, text=True).stdout.splitlines()[1:]
    rows = [(*map(int, line.split()[:3]), line.split()[3]) for line in listed]
    leaders = {pid for pid, parent, group, _ in rows if parent == process.pid and pid == group}
    return [(pid, nice) for pid, _, group, nice in rows if group in leaders]


def all_ended(pids, seconds=10):
    """Nobody may have asked for the exit status of one that lost its parent."""
    end = time.monotonic() + seconds
    while any(
        began(pid) and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" for pid in pids
    ):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def asleep(process, seconds=60):
    """The tree of the sleepy study, once it is whole."""
    end = time.monotonic() + seconds
    while len(tree := group_of(process)) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    return tree


def test_a_study_delivers_and_tells_where_it_is(workshop, asking):
    status, headers, job = call(asking, "POST", OPTIMIZE, ASKED)
    assert status == 202 and headers["location"] == f"/optimization/jobs/{job['id']}"
    done, seen = follow(asking, job["id"], lambda job: job["state"] == "done")
    assert {"Checking the model", "Trials"} & {one["stage"] for one in seen}
    assert all(set(one) == {"stage", "done", "total"} for one in seen) and done["progress"] is None
    result = done["result"]
    assert result["accepted"] and result["artifact"] == "blobs/minimal/artifact"
    assert artifact_digest(workshop / "results" / result["artifact"]) == result["artifact_digest"]
    assert (workshop / "results" / result["report"]).is_file()
    assert 0 < result["speedup_interval"][0] <= result["speedup"] <= result["speedup_interval"][1]


def test_what_a_study_says_of_its_files_is_for_the_operator(workshop, asking):
    job = call(asking, "POST", OPTIMIZE, {**ASKED, "model_name": "missing"})[2]
    failed, _ = follow(asking, job["id"], lambda job: job["state"] == "failed")
    assert "cannot use what it was given" in failed["error"] and "Quill" not in json.dumps(failed)
    log = workshop / "results" / "jobs" / failed["id"] / "log.txt"
    assert "Quillfeather" in log.read_text() and log.parent.stat().st_mode & 0o077 == 0


def test_jobs_run_one_at_a_time_and_end_with_all_their_processes(workshop, artifact):
    arguments = (f"risk={artifact}", "--studies", workshop / "more.yaml")
    (workshop / "more.yaml").write_text(STUDIES.replace("results", "more"))
    with server(*arguments, give_process=True) as (port, process):
        first = call(port, "POST", OPTIMIZE, SLEEPY)[2]
        status, _, answer = call(port, "POST", OPTIMIZE, SLEEPY)
        assert status == 409 and first["id"] in answer["error"]
        second = call(port, "POST", OPTIMIZE, {**SLEEPY, "optimization_level": "minimal"})[2]
        tree = asleep(process)
        assert all(nice == "15" for _, nice in tree), "serving comes first"
        told = call(port, "GET", "/optimization/status")[2]["optimization"]
        assert [(one["id"], one["state"]) for one in told["running"]] == [
            (second["id"], "queued"), (first["id"], "running"),
        ]  # fmt: skip
        assert told["models"] == ["blobs", "sleepy", "missing"]
        assert call(port, "DELETE", f"/optimization/jobs/{second['id']}")[2]["state"] == "cancelled"
        assert call(port, "DELETE", f"/optimization/jobs/{first['id']}")[2]["state"] == "cancelled"
        assert all_ended(pid for pid, _ in tree)
        assert call(port, "DELETE", f"/optimization/jobs/{first['id']}")[0] == 200
        third = call(port, "POST", OPTIMIZE, SLEEPY)[2]
        tree = asleep(process)
    assert all_ended(pid for pid, _ in tree), "it ends with the server"
    with server(*arguments, give_process=True) as (port, process):
        jobs = call(port, "GET", "/optimization/jobs")[2]["jobs"]
        assert [(one["id"], one["state"]) for one in jobs] == [
            (third["id"], "interrupted"), (second["id"], "cancelled"), (first["id"], "cancelled"),
        ]  # fmt: skip
        call(port, "POST", OPTIMIZE, SLEEPY)
        tree = asleep(process)
        process.kill()
        process.wait()
        assert not all_ended([tree[0][0]], 0.5)
    with server(*arguments) as port:
        assert call(port, "GET", "/optimization/jobs")[2]["jobs"][0]["state"] == "interrupted"
        assert all_ended(pid for pid, _ in tree), "the next server ends what a killed one left"


def test_the_queue_is_bounded(workshop, artifact):
    """Without a process: nothing is begun before the event loop has its turn."""

    async def full():
        jobs = Jobs(replace(read_studies(workshop / "studies.yaml"), out=workshop / "full"))
        many = {f"m{k}": Study(("--model=none:none", "--data=none")) for k in range(20)}
        jobs._studies = replace(jobs._studies, by_name=many)
        await jobs.start()
        for k in range(MOST_QUEUED + 1):
            jobs.submit(f"m{k}", "minimal", ("server",))
        with pytest.raises(Unavailable, match="wait already"):
            jobs.submit("m10", "minimal", ("server",))
        await jobs.stop()
        assert {job.state for job in jobs.all()} == {State.INTERRUPTED}

    asyncio.run(full())


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({**ASKED, "model_name": "/etc/passwd"}, 404, "there is: blobs, sleepy, missing"),
        ({**ASKED, "target_platforms": ["server", "mobile"]}, 400, "cannot target 'mobile'"),
        ({**ASKED, "target_platforms": ["batch"]}, 400, "cannot target 'batch'"),
        ({**ASKED, "target_platforms": ["toaster"]}, 400, "no platform"),
        ({**ASKED, "target_platforms": []}, 400, "at least one"),
        ({**ASKED, "optimization_level": "turbo"}, 400, "medical_critical"),
        ({"model_name": "blobs"}, 400, "optimization_level"),
    ],
)
def test_what_cannot_be_asked_for(workshop, asking, body, status, said):
    found, _, answer = call(asking, "POST", OPTIMIZE, body)
    assert found == status and said in answer["error"]
    assert (
        call(asking, "GET", "/optimization/jobs/none")[0] == call(asking, "DELETE", "/optimization/jobs/none")[0] == 404
    )


@pytest.fixture(scope="module")
def asking(workshop, artifact):
    with server(f"risk={artifact}", "--studies", workshop / "studies.yaml") as port:
        yield port


def test_two_servers_do_not_share_a_folder(workshop, asking, artifact):
    done = primum("serve", f"risk={artifact}", "--studies", workshop / "studies.yaml", "--port", 0)
    assert done.returncode and "another server runs studies there" in done.stderr


def test_without_studies_nothing_may_be_optimized(port):
    status, _, answer = call(port, "POST", OPTIMIZE, ASKED)
    assert status == 404 and "--studies" in answer["error"]
    assert call(port, "GET", "/optimization/status")[2]["optimization"]["enabled"] is False


def test_only_who_may_optimize_is_let_in(workshop, artifact, tmp_path):
    key, entry = new_key("lab", (Scope.INFER, Scope.METRICS))
    (tmp_path / "keys.yaml").write_text(entry)
    with server(f"risk={artifact}", "--keys", tmp_path / "keys.yaml", "--audit", tmp_path / "a.jsonl") as port:
        mine = {"X-API-Key": key}
        assert call(port, "POST", OPTIMIZE, ASKED)[0] == 401
        for method, path in (("POST", OPTIMIZE), ("GET", "/optimization/jobs"), ("DELETE", "/optimization/jobs/1")):
            assert call(port, method, path, None, mine)[0] == 403
        assert call(port, "GET", "/optimization/status", None, mine)[0] == 200
    what = [json.loads(line)["what"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert what == ["optimize", "optimize", "jobs", "cancel", "status"]


def test_a_history_that_a_crash_cut_short_is_read(tmp_path):
    history = History(tmp_path / "jobs.jsonl")
    assert history.open() == []
    jobs = [
        Job(id=str(k), model_name="m", optimization_level="minimal", target_platforms=("server",)) for k in range(3)
    ]
    for job in jobs:
        history.write(job)
    jobs[1].state = State.DONE
    history.write(jobs[1])
    whole = (tmp_path / "jobs.jsonl").read_bytes()
    (tmp_path / "jobs.jsonl").write_bytes(whole + whole[:40])
    history.close()
    history = History(tmp_path / "jobs.jsonl")
    assert [(job.id, job.state) for job in history.open()] == [("0", "queued"), ("1", "done"), ("2", "queued")]
    assert (tmp_path / "jobs.jsonl").read_bytes() == whole
