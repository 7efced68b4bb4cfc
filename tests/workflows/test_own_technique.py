"""A user's own technique and quantization manager take part in a study as built-ins do; what fails fails alone."""

import contextlib
import os
import subprocess
import sys
import textwrap

import blobs
import inline
import own_techniques
import pytest
import torch
from studies import config, run

import primum
import primum.techniques
from primum.config import OptimizationLevel
from primum.errors import InputError
from primum.runtimes.base import Target
from primum.study.recipe import Recipe, read_recipes, write_recipes
from primum.study.trial import Status
from primum.techniques.quantization.custom import CustomQuantization
from primum.techniques.registry import make

ORT = Target(runtime="onnxruntime", threads=1)


def recipe(*techniques: primum.TechniqueConfig) -> Recipe:
    return Recipe(ORT, techniques)


def manager(name: str, **settings: object) -> Recipe:
    return recipe(CustomQuantization(manager=f"own_techniques:{name}", settings=settings))


GOOD = {
    "own": recipe(own_techniques.Shrink(by=0.0005)),
    "trains": recipe(own_techniques.TeachHead(steps=2)),
    "manager": manager("Rounding", bits=9),
    "with a built-in": recipe(own_techniques.Shrink(by=0.0002), make("round_weights", {"bits": 8})),
}
BAD = {
    "raises": (recipe(own_techniques.Bad(how="raises")), "ZeroDivisionError: own reason: no such scale"),
    "no module": (recipe(own_techniques.Bad(how="no module")), "own_bad returned dict, not a torch module"),
    "other outputs": (recipe(own_techniques.Bad(how="other outputs")), "3 outputs a case, the original 1"),
    "nan": (recipe(own_techniques.Bad(how="nan")), "do not follow"),
    "failing manager": (manager("Failing"), "own table is empty"),
    "undecided manager": (manager("Undecided"), "returned no model"),
    "torch-only manager": (
        manager("Packed"),
        "custom_quantization leaves modules that onnxruntime cannot run (head, torch.ao.nn.quantized.dynamic.Linear): "
        "it works in torch alone; give it the runtime torchscript",
    ),
}
DEADLY = {
    "exits": (recipe(own_techniques.Bad(how="exits")), "process died"),
    "killed": (recipe(own_techniques.Bad(how="killed")), "SIGKILL"),
    "hangs": (recipe(own_techniques.Hang()), "longer than 20 s"),
}
LEFT_OUT = {
    "no such class": (manager("Nothing"), "cannot be imported"),
    "no manager": (manager("Shrink"), "no subclass"),
    "wrong settings": (manager("Rounding", depth=3), "depth"),
    "refused settings": (manager("Rounding", bits=64), "own limit"),
}


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    return blobs.make_manifest(tmp_path_factory.mktemp("lesson") / "train", 40, seed=9)


@contextlib.contextmanager
def quick(folder, processes):
    """Few timings; `processes`: candidates run in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("study.runner.TIMED_ROUNDS", "study.race.ROUNDS", "workflows.optimize.FINAL_ROUNDS"):
            patch.setattr(f"primum.{name}", 3)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
        patch.setattr("primum.study.runner.TRAINING_TIMEOUT", 20.0)
        patch.setenv("PRIMUM_STATE", str(folder / "state"))
        if not processes:
            inline.patch(patch)
        yield


def study_of(workshop, folder, recipes, lesson, processes):
    asked = config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",))
    with quick(folder, processes):
        return run(workshop, folder / "out", data="few", config=asked, recipes=recipes, train_data=lesson)


@pytest.fixture(scope="module")
def study(workshop, lesson, tmp_path_factory):
    """One study of all that leave the process alive."""
    recipes = (*GOOD.values(), *(r for r, _ in [*BAD.values(), *LEFT_OUT.values()]))
    delivery = study_of(workshop, tmp_path_factory.mktemp("own"), recipes, lesson, processes=False)
    return {t.recipe: t for t in delivery.result.trials}, delivery


@pytest.mark.parametrize("kind", GOOD)
def test_own_ones_are_built_judged_and_timed(study, kind):
    trials, _ = study
    trial = trials[str(GOOD[kind])]
    assert trial.ok and trial.parity.passed and trial.verdict is not None and trial.timings.ratio > 0, trial.reason
    own = [note for note in trial.notes if note.startswith(("own_", "custom_quantization: own_techniques:Rounding"))]
    assert own, trial.notes
    if kind == "trains":
        assert any("of 44 cases, 40 patients" in note for note in own), own


@pytest.mark.parametrize("kind", BAD)
def test_one_that_goes_wrong_is_a_failed_trial_with_its_reason(study, kind):
    trials, _ = study
    wrong, why = BAD[kind]
    assert trials[str(wrong)].status is Status.FAILED and why in trials[str(wrong)].reason, trials[str(wrong)].reason


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_manager_that_cannot_be_made_is_left_out_before_any_time_is_spent(study, kind):
    _, delivery = study
    wrong, why = LEFT_OUT[kind]
    assert any(item.what == str(wrong) and why in item.why for item in delivery.result.left_out)


def whole(delivery):
    trials = {t.recipe: t for t in delivery.result.trials}
    assert trials["onnxruntime[fp32, threads=1]"].lossless
    page = delivery.report.read_text()
    assert all(name in page for name in ("own_shrink", "own_bad"))
    with primum.load(delivery.artifact) as predictor:
        assert predictor.predict_tensor(torch.zeros(2, 1, 32, 32).numpy()).shape == (2, 2)
    return trials


def test_the_study_stays_whole(study):
    _, delivery = study
    whole(delivery)
    assert "own reason: no such scale" in delivery.report.read_text()


@pytest.mark.slow
@pytest.mark.processes
def test_one_that_takes_its_process_down_takes_nothing_else(workshop, lesson, tmp_path):
    """Also: a process of its own finds the user's module."""
    recipes = (GOOD["own"], *(r for r, _ in DEADLY.values()))
    trials = whole(study_of(workshop, tmp_path, recipes, lesson, processes=True))
    assert trials[str(GOOD["own"])].ok
    for wrong, why in DEADLY.values():
        assert trials[str(wrong)].status is Status.FAILED and why in trials[str(wrong)].reason


def test_the_public_name_is_the_decorator_even_beside_the_package():
    assert primum.techniques.__name__ == "primum.techniques"
    assert callable(primum.technique) and primum.technique.__module__ == "primum.techniques.registry"
    assert make("own_shrink", {"by": 0.5}) == own_techniques.Shrink(by=0.5)


def test_recipes_of_own_techniques_are_plain_data(tmp_path):
    wanted = tuple(GOOD.values())
    (tmp_path / "recipes.yaml").write_text(write_recipes(wanted))
    assert read_recipes(tmp_path / "recipes.yaml") == wanted


def test_a_recipe_file_may_name_the_module_that_holds_the_technique(tmp_path):
    """A process that imported nothing of the user's: as the command line starts."""
    (tmp_path / "clinic_tricks.py").write_text(
        textwrap.dedent(
            """
            import primum
            def _same(model, config, context):
                return model
            @primum.technique("clinic_same", _same)
            class Same(primum.TechniqueConfig):
                much: int = 1
            """
        )
    )
    (tmp_path / "recipes.yaml").write_text(
        "- techniques: [{'clinic_tricks:clinic_same': {much: 2}}]\n  target: {runtime: onnxruntime}\n"
    )
    code = (
        "from pathlib import Path\nfrom primum.study.recipe import read_recipes\n"
        "print(read_recipes(Path('recipes.yaml'))[0])"
    )
    done = _python(code, tmp_path)
    assert done.stdout.strip() == "clinic_same(much=2) -> onnxruntime[fp32]", done.stderr
    for name, why in (("clinic_tricks:nothing", "nothing"), ("clinic_nowhere:x", "clinic_nowhere")):
        (tmp_path / "recipes.yaml").write_text(f"techniques: [{{'{name}': {{}}}}]\ntarget: {{runtime: onnxruntime}}\n")
        assert why in _python(code, tmp_path).stderr.splitlines()[-1]


def test_one_defined_in_the_main_script_is_left_out_with_the_way_out(tmp_path):
    """Other processes cannot import __main__."""
    code = """
        import primum
        from primum.hardware.machine import this_machine
        from primum.techniques.registry import Stage
        @primum.technique("mine", lambda model, config, context: model)
        class Mine(primum.TechniqueConfig):
            pass
        print(primum.Recipe(primum.Target(runtime="onnxruntime"), (Mine(),)).obstacle(this_machine()))
    """
    done = _python(textwrap.dedent(code), tmp_path)
    assert "put it into a module that can be imported" in done.stdout, done.stderr


def test_one_without_its_decorator_is_named():
    with pytest.raises(InputError, match=r"Unregistered.*primum\.technique"):
        str(recipe(own_techniques.Unregistered()))


def test_what_was_kept_belongs_to_the_code_that_made_it(tmp_path):
    """A technique that was mended is tried again; one that was not is found again."""
    code = (
        "import primum, clinic_code\nr = primum.Recipe(primum.Target(runtime='onnxruntime'), (clinic_code.Own(),))\n"
        "from primum.techniques.quantization.custom import CustomQuantization as C\n"
        "m = primum.Recipe(primum.Target(runtime='onnxruntime'), (C(manager='clinic_code:Own'),))\nprint(r.key, m.key)"
    )
    source = "import primum\n@primum.technique('own', lambda *_: None)\nclass Own(primum.TechniqueConfig):\n    pass\n"
    keys = []
    for text in (source, source, source + "# mended\n"):
        (tmp_path / "clinic_code.py").write_text(text)
        done = _python(code, tmp_path)
        keys.append(done.stdout.split())
        assert done.returncode == 0, done.stderr
    assert keys[0] == keys[1] and not set(keys[0]) & set(keys[2])


def _python(code, folder):
    paths = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
