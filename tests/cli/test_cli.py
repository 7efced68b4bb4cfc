"""The other commands, as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import blobs
import pytest
from shell import command, environ, primum


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An optimized study with everything beside it."""
    folder = tmp_path_factory.mktemp("made")
    blobs.fit(folder / "weights.safetensors")
    blobs.make_manifest(folder / "data", 200, seed=4)
    blobs.make_manifest(folder / "new", 120, seed=5)
    done = primum(
        "optimize", "--threads", 1, "--model", "nets:build", "--checkpoint", folder / "weights.safetensors",
        "--data", folder / "data" / "manifest.csv", "--out", folder / "out", "--level", "minimal",
        "--preprocessing", folder / "data" / "preprocessing.yaml", "--patient-column", "patient_id",
        "--target", "onnxruntime", "--json", PRIMUM_STATE=str(folder / "state"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {"accepted", "artifact", "report", "verdict", "speedup", "size_ratio", "trials"} <= set(summary)
    return folder


def test_help_and_import_load_neither_torch_nor_a_runtime():
    code = (
        "import sys, primum, primum.cli.main\n"
        "heavy = {'torch', 'onnxruntime', 'openvino', 'onnx', 'scipy', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environ())
    listed = primum("--help").stdout
    assert all(name in listed for name in ("demo", "optimize", "validate", "benchmark", "verify", "inspect", "doctor"))


def test_verify_replays_and_notices_a_changed_byte(made, tmp_path):
    import shutil

    done = primum("verify", made / "out" / "artifact")
    assert done.returncode == 0 and "match their SHA-256" in done.stdout and "golden" in done.stdout
    copy = Path(shutil.copytree(made / "out" / "artifact", tmp_path / "copy"))
    file = copy / "model" / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    done = primum("verify", copy)
    assert done.returncode == 2 and "model/model.onnx does not match" in done.stderr


def test_verify_says_that_the_manifest_itself_is_not_covered(made):
    artifact, said = (
        made / "out" / "artifact",
        "the manifest itself is not covered: give --expect DIGEST or --public-key",
    )
    assert said in primum("verify", artifact).stdout
    told = json.loads(primum("verify", artifact, "--json").stdout)
    assert told["manifest_covered"] is False and told["notes"] == [said]
    assert said not in primum("verify", artifact, "--expect", told["digest"]).stdout
    told = json.loads(primum("verify", artifact, "--expect", told["digest"], "--json").stdout)
    assert told["manifest_covered"] is True and told["notes"] == []


def test_verify_notices_an_edited_threshold(made, tmp_path):
    import shutil

    copy = Path(shutil.copytree(made / "out" / "artifact", tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "threshold": manifest["threshold"] + 0.1}))
    done = primum("verify", copy)
    assert done.returncode == 2 and "another threshold or guard band" in done.stderr


def test_verify_checks_a_signature(made, tmp_path):
    pytest.importorskip("model_signing", reason="needs primum[signing]")
    import shutil

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    from primum import sign

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    copy = Path(shutil.copytree(made / "out" / "artifact", tmp_path / "copy"))
    assert "signature: none" in primum("verify", copy).stdout
    assert "no such file" in primum("verify", copy, "--public-key", public).stderr
    signature = sign(copy, private)
    assert "signature: not checked: give --public-key" in primum("verify", copy).stdout
    assert json.loads(primum("verify", copy, "--public-key", public, "--json").stdout)["signature"] == "valid"
    signature.rename(tmp_path / "elsewhere")
    assert (
        "signature: valid"
        in primum("verify", copy, "--public-key", public, "--signature", tmp_path / "elsewhere").stdout
    )
    done = primum("verify", copy, "--signature", tmp_path / "elsewhere")
    assert done.returncode == 2 and "--public-key" in done.stderr
    (tmp_path / "elsewhere").write_text("{}")
    done = primum("verify", copy, "--public-key", public, "--signature", tmp_path / "elsewhere")
    assert done.returncode == 2 and "was changed" in done.stderr


def test_inspect(made):
    shown = primum("inspect", made / "out" / "artifact").stdout
    assert "onnxruntime[fp32, threads=1]" in shown and "NON_INFERIOR" in shown and "positive: shadow" in shown
    manifest = json.loads(primum("inspect", made / "out" / "artifact", "--json").stdout)
    assert manifest["signature"]["classes"] == ["clear", "shadow"]


def test_validate_on_new_cases(made):
    arguments = [
        "validate", "--artifact", made / "out" / "artifact", "--model", "nets:build",
        "--checkpoint", made / "weights.safetensors", "--data", made / "new" / "manifest.csv",
        "--patient-column", "patient_id", "--group-columns", "sex",
    ]  # fmt: skip
    done = primum(*arguments, PRIMUM_STATE=str(made / "state"))
    assert done.returncode == 0, done.stderr
    assert "verdict: NON_INFERIOR, basis numeric" in done.stdout and "sensitivity" in done.stdout
    verdict = json.loads(primum(*arguments, "--json", PRIMUM_STATE=str(made / "state")).stdout)["verdict"]
    assert verdict["n"] == 132 and verdict["n_patients"] == 120


def test_validate_refuses_a_model_that_is_not_the_parent(made):
    done = primum(
        "validate", "--artifact", made / "out" / "artifact", "--model", "nets:build",
        "--data", made / "new" / "manifest.csv",
    )  # fmt: skip
    assert done.returncode == 2 and "another model" in done.stderr


def test_benchmark_times_original_and_artifact(made):
    done = primum(
        "benchmark", made / "out" / "artifact", "--model", "nets:build", "--checkpoint", made / "weights.safetensors",
        "--rounds", 3, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    original, artifact = json.loads(done.stdout)["contestants"]
    assert original["timings"]["ratio"] == 1 and artifact["timings"]["ratio"] > 0
    assert artifact["proven"]["provider"] == "CPUExecutionProvider"


def test_doctor_lists_what_is_there(made):
    shown = primum("doctor").stdout
    assert "onnxruntime" in shown and "runtime openvino" in shown
    assert json.loads(primum("doctor", "--json").stdout)["machine"]["cores"] >= 1


def test_debug_shows_the_traceback_and_without_it_one_line(tmp_path):
    plain, debug = primum("inspect", tmp_path), primum("inspect", tmp_path, "--debug")
    assert "Traceback" not in plain.stderr and "Traceback" in debug.stderr


NO_SOCKETS = """
import socket, sys
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        if event != "socket.connect" or args[0].family != socket.AF_UNIX:
            with open({log!r}, "a") as file:
                file.write(event + " " + repr(args[1:]) + "\\n")
            raise OSError("no network in this test")
sys.addaudithook(refuse)
"""


@pytest.mark.slow
def test_a_whole_study_opens_no_socket(made, tmp_path):
    log = tmp_path / "sockets.log"
    (tmp_path / "sitecustomize.py").write_text(NO_SOCKETS.format(log=str(log)))
    environment = environ(PRIMUM_STATE=str(tmp_path / "state"), HOME=str(tmp_path))
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    arguments = command(
        "optimize", "--threads", 1, "--model", "nets:build", "--checkpoint", made / "weights.safetensors",
        "--data", made / "data" / "manifest.csv", "--out", tmp_path / "out",
        "--preprocessing", made / "data" / "preprocessing.yaml", "--target", "openvino",
    )  # fmt: skip
    # CI variables would switch the libraries' telemetry off by themselves.
    for name in ("CI", "PYTEST_CURRENT_TEST", "TF_BUILD", "JENKINS_URL"):
        environment.pop(name, None)
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode in (0, 3), done.stderr
    assert "openvino[int8, threads=1]: " in done.stderr and "failed" not in done.stderr
    assert not log.exists(), log.read_text()
    assert not (tmp_path / "intel").exists(), "no consent or client-id file of a telemetry library was made"


def test_a_digest_kept_elsewhere_shows_a_changed_manifest(made, tmp_path):
    import shutil

    digest = json.loads(primum("verify", made / "out" / "artifact", "--json").stdout)["digest"]
    assert primum("verify", made / "out" / "artifact", "--expect", digest).returncode == 0
    copy = Path(shutil.copytree(made / "out" / "artifact", tmp_path / "copy"))
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"threshold": 0.5', '"threshold": 0.01'))
    done = primum("verify", copy, "--expect", digest)
    assert done.returncode == 2 and "not the artifact expected" in done.stderr


def test_the_plan_as_json(made):
    done = primum(
        "optimize", "--model", "nets:build", "--checkpoint", made / "weights.safetensors",
        "--data", made / "data" / "manifest.csv", "--out", made / "plan", "--patient-column", "patient_id",
        "--preprocessing", made / "data" / "preprocessing.yaml", "--plan", "--json",
    )  # fmt: skip
    plan = json.loads(done.stdout)
    assert [p["name"] for p in plan["parts"]] == ["calibration", "selection", "guard", "confirmation"]
    assert plan["power"]["all"]["sensitivity"]["n"] <= plan["parts"][3]["patients"]
