"""`primum validate`: judging, planning, and holding one report against another."""

import json
import shutil
from pathlib import Path

import blobs
import pytest
from inline import patch, primum

from primum.errors import InputError


@pytest.fixture(autouse=True)
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """That `primum validate` is a process which starts others is shown beside the other commands."""
    patch(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lossless artifact, and new cases that it has not seen."""
    folder = tmp_path_factory.mktemp("made")
    blobs.fit(folder / "weights.safetensors")
    blobs.make_manifest(folder / "data", 150, seed=4)
    blobs.make_manifest(folder / "new", 120, seed=5)
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch(monkeypatch)
        done = primum(
            "optimize", "--threads", 1, "--model", "nets:build", "--checkpoint", folder / "weights.safetensors",
            "--data", folder / "data" / "manifest.csv", "--out", folder / "out", "--level", "minimal",
            "--preprocessing", folder / "data" / "preprocessing.yaml", "--patient-column", "patient_id",
            "--target", "onnxruntime", PRIMUM_STATE=str(folder / "state"),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def validate(made, *more, state=None):
    return primum(
        "validate", "--artifact", made / "out" / "artifact", "--model", "nets:build",
        "--checkpoint", made / "weights.safetensors", "--data", made / "new" / "manifest.csv",
        "--patient-column", "patient_id", *more, PRIMUM_STATE=str(state or made / "state"),
    )  # fmt: skip


def test_scores_calibration_and_advice_beside_the_verdict(made):
    done = validate(made, "--group-columns", "sex", "--accuracy-threshold", 0.97)
    assert done.returncode == 0, done.stderr
    assert "verdict: NON_INFERIOR, basis numeric" in done.stdout
    for word in ("medical_accuracy", "0.9700", "safety_score", "bias_score", "weakest score", "calibration, original",
                 "do: ", "evidence items"):  # fmt: skip
        assert word in done.stdout
    assert "compliant" not in done.stdout.lower()


def test_from_python_the_same_accuracy_is_to_be_retained(made, monkeypatch):
    from primum.data.options import DataOptions
    from primum.models.reference import parse_model
    from primum.validation.spec_scores import ValidationMetric
    from primum.workflows.validate import validate as judge

    monkeypatch.setenv("PRIMUM_STATE", str(made / "state"))
    model = parse_model("nets:build", made / "weights.safetensors")
    options = DataOptions(patient_column="patient_id")
    found = judge(made / "out" / "artifact", model, made / "new" / "manifest.csv", options)
    assert found.assessment.score(ValidationMetric.MEDICAL_ACCURACY).threshold == 0.98


def test_policy_flags_reach_the_verdict(made, tmp_path):
    (tmp_path / "actions.yaml").write_text(
        "- {name: home, at: 0}\n- {name: clinic, at: 0.3}\n- {name: ward, at: 0.8}\n"
    )
    done = validate(made, "--actions", tmp_path / "actions.yaml", "--hold-specificity", 0.9, "--margin", 0.03, "--json")
    data = json.loads(done.stdout)
    assert [a["name"] for a in data["policy"]["actions"]] == ["home", "clinic", "ward"]
    assert data["assessment"]["concordance"]["actions"] == ["home", "clinic", "ward"]
    frozen = data["assessment"]["frozen"]
    assert frozen["held"] == "specificity" and data["verdict"]["threshold"] == frozen["threshold"] != 0.5
    assert frozen["achieved"]["specificity"]["estimate"] >= 0.9
    assert any("the artifact itself decides at 0.5" in note for note in data["notes"])
    assert {p["margin"] for p in data["verdict"]["components"] if p["name"] == "sensitivity"} == {0.03}


def test_a_threshold_that_is_not_the_artifacts_is_told(made):
    done = validate(made, "--threshold", 0.3, "--json")
    data = json.loads(done.stdout)
    assert data["verdict"]["threshold"] == 0.3
    assert "judged at 0.3, which the policy names; the artifact itself decides at 0.5" in data["notes"]
    assert "note: judged at 0.3" in validate(made, "--threshold", 0.3).stdout
    for same in ((), ("--threshold", 0.5)):
        assert not any("judged at" in note for note in json.loads(validate(made, *same, "--json").stdout)["notes"])


def test_a_previous_report_is_held_against_it(made, tmp_path):
    first = validate(made, "--json")
    was = json.loads(first.stdout)
    was["size_bytes"] //= 2
    (tmp_path / "before.json").write_text(json.dumps(was))
    larger = validate(made, "--previous", tmp_path / "before.json", "--json")
    assert larger.returncode == 3
    assert [i["kind"] for i in json.loads(larger.stdout)["regression"]["items"] if i["change"] == "REGRESSED"] == [
        "size"
    ]
    other = validate(made, "--previous", made / "out" / "report.json")
    assert "another data" in other.stdout and "quality could not be compared" in other.stdout and other.returncode == 0


def test_a_second_look_at_the_same_cases_is_recorded_and_told(made, tmp_path, monkeypatch):
    from primum.data.ledger import Ledger

    def look(*more):
        done = validate(made, *more, state=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    monkeypatch.setenv("PRIMUM_STATE", str(tmp_path))
    first = json.loads(look("--json"))
    assert first["prior_openings"] == [] == first["uncomparable_openings"]
    assert "not a first look" not in look(), "the same judgement once more is no new one"
    (opening,) = Ledger().openings()
    assert opening.look == "validation" and len(opening.cases) == first["verdict"]["n"]
    other = look("--margin", 0.03)
    assert "not a first look" in other and "100% of these cases were judged by primum validate" in other
    assert len(json.loads(look("--group-columns", "sex", "--json"))["prior_openings"]) == 2
    assert len(Ledger().openings()) == 3


def without_patients(made, folder, *more):
    """Judge the new cases twice each, under two names, with no column of patients."""
    shutil.copytree(made / "new" / "images", folder / "images")
    header, *rows = (made / "new" / "manifest.csv").read_text().splitlines()
    again = [row.replace(".png", "-again.png", 1) for row in rows]
    for row in rows:
        name = row.split(",")[0]
        shutil.copy(folder / name, folder / name.replace(".png", "-again.png"))
    (folder / "manifest.csv").write_text("\n".join([header, *rows, *again]) + "\n")
    return primum(
        "validate", "--artifact", made / "out" / "artifact", "--model", "nets:build",
        "--checkpoint", made / "weights.safetensors", "--data", folder / "manifest.csv", *more,
        PRIMUM_STATE=str(made / "state"),
    )  # fmt: skip


def test_a_case_under_two_names_is_one_where_no_patient_is_named(made, tmp_path):
    done = without_patients(made, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["verdict"]
    assert (found["n"], found["n_patients"], found["copies"]) == (264, 132, 132)
    assert found["unit"] == "distinct case (no patient named)", "nobody declared anything"


def test_independence_is_declared_by_a_flag_and_copies_are_told(made, tmp_path):
    done = without_patients(made, tmp_path, "--independent")
    assert done.returncode == 0, done.stderr
    assert "distinct case (declared independent)" in done.stdout
    assert "132 of 264 cases repeat the input of another" in done.stdout
    assert "unit of evidence: patient" in validate(made, "--independent").stdout, "patients that are named are stricter"


def test_a_plan_without_patients_says_what_it_counts(tmp_path):
    (tmp_path / "cases.csv").write_text(SURVEY)
    done = primum("validate", "--plan", "--data", tmp_path / "cases.csv")
    assert done.returncode == 0, done.stderr
    assert "no patient is named: every row counts as one" in " ".join(done.stdout.split())
    told = primum("validate", "--plan", "--data", tmp_path / "cases.csv", "--patient-column", "who").stdout
    assert "no patient is named" not in told


def test_a_previous_report_is_read_before_anything_runs(made, tmp_path):
    (tmp_path / "other.json").write_text("[]")
    for name, why in (("absent.json", "cannot read the report"), ("other.json", "no report of primum")):
        done = validate(made, "--previous", tmp_path / name, state=tmp_path / "state")
        assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "state").exists(), "no look at the cases was recorded"


def test_a_plan_needs_neither_model_nor_artifact(made):
    done = primum(
        "validate", "--plan", "--data", made / "new" / "manifest.csv", "--patient-column", "patient_id",
        "--group-columns", "sex", "--margin", 0.05, "--loss", 0.005, "--gain", 0.005, "--prevalence", "0.1,0.3",
        "--guard", 0.01, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["sensitivity"]["for_80"] == 110 and plan["sensitivity"]["without_flip"] == 73
    assert [part["prevalence"] for part in plan["recruitment"]] == [0.1, 0.3] and plan["guard"]["patients"] == 299
    levels = {part["level"]: part for part in plan["levels"]}
    assert set(levels) == {"all", "sex=F", "sex=M"} and levels["all"]["patients"] == 120
    shown = primum("validate", "--plan", "--prevalence", 0.2).stdout
    assert "361" in shown and "prevalence of 0.2" in shown


def planned(tmp_path, content, *more):
    (tmp_path / "cases.csv").write_text(content)
    return primum("validate", "--plan", "--data", tmp_path / "cases.csv", "--patient-column", "who", *more,
                  COLUMNS="80")  # fmt: skip


SURVEY = "age,label,who,site\n" + "".join(
    f"{40 + i},{('mild', 'moderate', 'severe')[i % 3]},p{i},{('Northern', 'Southern')[i % 2]}\n" for i in range(60)
)


def test_a_plan_needs_labels_alone(tmp_path):
    bare = planned(tmp_path, SURVEY, "--group-columns", "site", "--json")
    assert bare.returncode == 0, bare.stderr
    full = planned(tmp_path, SURVEY, "--group-columns", "site", "--feature-columns", "age", "--json")
    assert json.loads(bare.stdout) == json.loads(full.stdout) and len(json.loads(bare.stdout)["levels"]) == 9


def test_no_word_of_a_plan_is_cut_at_the_width_of_a_terminal(tmp_path):
    shown = planned(tmp_path, SURVEY, "--group-columns", "site").stdout
    assert max(len(line) for line in shown.split("data at", 1)[1].splitlines()) <= 80
    words = shown.split()
    for word in ("site=Northern", "site=Southern", "moderate", "question", "missing", "needed", "power"):
        assert word in words, word
    binary = planned(tmp_path, SURVEY.replace("severe", "mild"), "--group-columns", "site").stdout.split()
    assert {"site=Northern", "missing", "needed", "power"} <= set(binary)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "--artifact, --model, --data"),
        (("--plan", "--prevalence", "many"), "give a number"),
        (("--plan", "--prevalence", "1.5"), "between 0 and 1"),
        (("--plan", "--guard", "smallest"), "needs a number"),
        (("--plan", "--loss", 0.7, "--gain", 0.7), "probabilities"),
        (("--plan", "--hold-specificity", 0.9, "--hold-sensitivity", 0.9), "exclude each other"),
        (("--plan", "--actions", "absent.yaml"), "--actions absent.yaml: cannot be read"),
        (("--plan", "--data", "nowhere"), "no such file"),
        (("--margin", "nan"), "--margin nan: a margin must be a finite number greater than 0 and less than 1"),
        (("--plan", "--brier-margin", "inf"), "--brier-margin inf: a margin must be a finite number"),
        (
            ("--plan", "--task", "regression", "--error-margin", "inf"),
            "--error-margin inf: give a finite number greater than 0",
        ),
        (("--plan", "--kappa-margin", "2"), "--kappa-margin 2.0: a margin must be a finite number greater than 0 and"),
        (("--plan", "--task", "segmentation", "--dice-margin", 0.03), "planning without data is for classification"),
        (("--plan", "--task", "regression"), "what the margin of a regression task takes: give --data"),
        (("--plan", "--dice-margin", 0.03), "--dice-margin is for a segmentation task: give --task segmentation, or"),
        (("--plan", "--error-margin", 3), "--error-margin is for a regression task"),
        (("--plan", "--tolerance", 3), "--tolerance is for a regression task"),
        (("--plan", "--task", "binary", "--kappa-margin", 0.1), "--kappa-margin is for an ordinal task, not binary"),
        (("--plan", "--task", "regression", "--margin", 0.1), "--margin is for a classification task, not regression"),
    ],
)
def test_bad_input(arguments, why, tmp_path):
    done = primum("validate", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "actions.yaml").write_text("{name: home}")
    done = primum("validate", "--plan", "--actions", "actions.yaml", cwd=tmp_path)
    assert done.returncode == 2 and "expected a list" in done.stderr


def test_an_unproven_artifact_is_called_so_by_every_command(made, tmp_path):
    """As --accept-inconclusive leaves it: the manifest says so."""
    folder = shutil.copytree(made / "out" / "artifact", tmp_path / "artifact")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"unproven": True, "verdict": "INCONCLUSIVE"}))
    judged = ("--model", "nets:build", "--checkpoint", made / "weights.safetensors", "--data",
              made / "new" / "manifest.csv", "--patient-column", "patient_id")  # fmt: skip
    for arguments in (("validate", "--artifact", folder, *judged), ("benchmark", folder, "--rounds", 3),
                      ("verify", folder)):  # fmt: skip
        said = primum(*arguments, PRIMUM_STATE=str(tmp_path / "state"))
        assert said.returncode == 0 and "UNPROVEN" in said.stdout and "Warning" not in said.stderr, said.stderr
        told = json.loads(primum(*arguments, "--json", PRIMUM_STATE=str(tmp_path / "state")).stdout)
        assert told.get("unproven", told.get("contestants", [{}])[0].get("unproven")) is True
    assert "UNPROVEN" not in validate(made).stdout


def test_a_waiver_of_nothing_is_refused_before_the_look_is_recorded(made, tmp_path, monkeypatch):
    from primum.config import ClinicalPolicy
    from primum.data.options import DataOptions
    from primum.models.reference import parse_model
    from primum.workflows.plan_validation import plan_validation
    from primum.workflows.validate import validate as judge

    monkeypatch.setenv("PRIMUM_STATE", str(tmp_path / "state"))
    data, options = made / "new" / "manifest.csv", DataOptions(patient_column="patient_id", group_columns=("sex",))
    policy = ClinicalPolicy(waived_subgroups=("sex=f",))
    with pytest.raises(InputError, match="nothing is called 'sex=f'.*sex=F, sex=M"):
        judge(made / "out" / "artifact", parse_model("nets:build", made / "weights.safetensors"), data, options, policy)
    assert not (tmp_path / "state").exists()
    with pytest.raises(InputError, match="nothing is called 'sex=f'"):
        plan_validation(policy, data, options)


def test_a_plan_of_a_study_refuses_a_waiver_of_nothing(made, tmp_path):
    done = primum(
        "optimize", "--plan", "--model", "nets:build", "--checkpoint", made / "weights.safetensors", "--data",
        made / "data" / "manifest.csv", "--out", tmp_path / "out", "--patient-column", "patient_id",
        "--preprocessing", made / "data" / "preprocessing.yaml", "--group-columns", "sex",
        "--waive-subgroups", "class=annn,sex=q,foo=bar", PRIMUM_STATE=str(tmp_path / "state"),
    )  # fmt: skip
    assert done.returncode == 2 and "'class=annn', 'sex=q', 'foo=bar'" in done.stderr and "sex=F" in done.stderr


def test_of_an_artifact_without_a_guard_nothing_is_said_of_one(made):
    assert json.loads(validate(made, "--json").stdout)["guard"] is None
    assert "guard" not in validate(made).stdout


@pytest.mark.parametrize("option", ["--dice-margin", "--error-margin", "--tolerance", "--kappa-margin"])
def test_an_option_of_another_task_than_the_artifacts_is_refused_before_the_look(made, tmp_path, option):
    done = validate(made, option, 0.1, state=tmp_path / "state")
    assert done.returncode == 2 and f"error: {option} is for a" in done.stderr and "not binary" in done.stderr
    assert not (tmp_path / "state").exists()


NAMES = "label,who\n" + "".join(f"SMITH^{i},{i}\n" for i in range(60))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--task", "binary", "--classes", "no,yes"), "60 different labels that --classes does not list, the first"),
        ((), "'label' has 60 different values on 60 patients"),
        (("--task", "multiclass"), "cases or patients rather than classes"),
    ],
)
def test_a_label_column_that_names_patients_is_refused_without_naming_one(tmp_path, more, why):
    done = planned(tmp_path, NAMES, *more)
    assert done.returncode == 2 and why in done.stderr, done.stderr
    assert "SMITH" not in done.stderr + done.stdout


def test_labels_that_are_not_the_artifacts_are_counted_and_not_named(made, tmp_path):
    folder = shutil.copytree(made / "new", tmp_path / "new")
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace(",clear,", ",SMITH,").replace(",shadow,", ",JONES,"))
    done = primum(
        "validate", "--artifact", made / "out" / "artifact", "--model", "nets:build", "--checkpoint",
        made / "weights.safetensors", "--data", folder / "manifest.csv", PRIMUM_STATE=str(tmp_path / "state"),
    )  # fmt: skip
    assert done.returncode == 2 and "2 of 2 labels are not the artifact's (binary)" in done.stderr
    assert "SMITH" not in done.stderr and "JONES" not in done.stderr
