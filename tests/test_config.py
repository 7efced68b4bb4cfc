import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from primum.cli.optimize import _configure
from primum.config import (
    DEFAULT_MARGINS,
    MEDICAL_ACCURACY,
    Action,
    ClinicalPolicy,
    GuardPolicy,
    Margins,
    OperatingPoint,
    OptimizationConfig,
    OptimizationLevel,
    QuantizationConfig,
    QuantizationType,
    ReductionConfig,
    ValidationConfig,
)
from primum.errors import InputError
from primum.task import Task

shares = st.floats(0.001, 0.999)
margins = st.builds(Margins, **{name: st.none() | shares for name in DEFAULT_MARGINS})
policies = st.builds(
    ClinicalPolicy,
    threshold=shares,
    margins=margins,
    confidence=st.floats(0.6, 0.99),
    waived_subgroups=st.lists(st.text(max_size=8), max_size=3).map(tuple),
)
configs = st.builds(
    OptimizationConfig,
    level=st.sampled_from(OptimizationLevel),
    preserve_medical_accuracy=st.booleans(),
    policy=policies,
    quantization=st.builds(QuantizationConfig, quantization_type=st.sampled_from(QuantizationType)),
    validation=st.builds(ValidationConfig, accuracy_threshold=shares),
    reduction=st.builds(ReductionConfig, prune_ratio=st.floats(0, 0.99)),
    budget_minutes=st.none() | st.floats(0.1, 1e6),
    threads=st.none() | st.integers(1, 512),
    seed=st.integers(0, 2**31),
    objective=st.sampled_from(("latency", "size")),
    deliver=st.sampled_from(((), ("openvino",), ("onnxruntime", "openvino"))),
)
STATED = Margins(sensitivity=0.02, specificity=0.03, auroc=0.01, brier=0.01)


def stated(**more):
    return OptimizationConfig(level=OptimizationLevel.MEDICAL_CRITICAL, policy=ClinicalPolicy(margins=STATED), **more)


def toml(value, prefix=""):
    """`value` as TOML, by hand: TOML has no null, so keys that hold None are left out."""
    flat, tables = "", ""
    for key, item in value.items():
        if isinstance(item, dict):
            tables += f"[{prefix}{key}]\n{toml(item, f'{prefix}{key}.')}"
        elif isinstance(item, bool):
            flat += f"{key} = {str(item).lower()}\n"
        elif isinstance(item, list):
            flat += f"{key} = {item}\n"
        elif item is not None:
            flat += f"{key} = {item!r}\n"
    return flat + tables


@given(configs)
@settings(deadline=None, max_examples=60)
def test_yaml_gives_back_an_equal_configuration(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert OptimizationConfig.from_file(path) == config


@given(configs)
@settings(deadline=None, max_examples=30)
def test_toml_gives_back_an_equal_configuration(tmp_path_factory, config):
    config.policy = config.policy.model_copy(update={"waived_subgroups": ()})
    path = tmp_path_factory.mktemp("config") / "c.toml"
    path.write_text(toml(config.model_dump(mode="json")))
    assert tomllib.loads(path.read_text())["seed"] == config.seed
    assert OptimizationConfig.from_file(path) == config


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("levle: balanced", "levle"),
        ("policy: {margins: {auc: 0.01}}", "policy.margins.auc"),
        ("quantization: {type: int4}", "quantization.type"),
        ("level: fastest", "level"),
        ("policy: {threshold: 1.5}", "policy.threshold"),
        ("policy: {threshold: .nan}", "policy.threshold"),
        ("threads: 0", "threads"),
        ("budget_minutes: -1", "budget_minutes"),
        ("- a list", "value"),
        ("[]", "value"),
        ("0", "value"),
        ("1: 2", "1"),
        ("a: [", "not valid"),
        ("seed: 2024-13-45", "not valid"),
        ("[ " * 3000, "not valid"),
        ("!!python/object/apply:os.getcwd []", "not valid"),
    ],
)
def test_a_bad_file_names_the_key_in_one_line(tmp_path, text, named):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        OptimizationConfig.from_file(path)
    message = str(caught.value)
    assert named in message and "c.yaml" in message and "\n" not in message


def test_bad_toml_bytes_that_are_no_text_and_missing_files(tmp_path):
    (tmp_path / "c.toml").write_text("a = = 1")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00level")
    for name in ("c.toml", "b.yaml", "none.yaml", "."):
        with pytest.raises(InputError):
            OptimizationConfig.from_file(tmp_path / name)


def test_an_empty_file_is_the_default(tmp_path):
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert OptimizationConfig.from_file(tmp_path / "c.yaml") == OptimizationConfig()


def test_medical_adjustments_are_made_and_each_is_reported():
    asked = OptimizationConfig(
        quantization=QuantizationConfig(quantization_type=QuantizationType.INT4),
        validation=ValidationConfig(accuracy_threshold=0.9),
        reduction=ReductionConfig(prune_ratio=0.5),
    )
    got = asked.resolve()
    assert got.config.quantization.quantization_type is QuantizationType.INT8
    assert got.config.validation.accuracy_threshold == 0.98
    assert got.config.validation.medical_compliance_required
    assert got.config.reduction.prune_ratio == 0.2
    text = "\n".join(got.adjustments)
    assert len(got.adjustments) == 4
    for part in ("INT8 in place of INT4", "98% in place of 90%", "mandatory", "20% in place of 50%"):
        assert part in text
    assert asked.reduction.prune_ratio == 0.5, "what the user gave stays as it was"


def told_of_pruning(config: OptimizationConfig) -> list[str]:
    return [note for note in config.resolve().adjustments if "pruning" in note]


def test_a_pruning_ratio_is_told_only_where_it_was_given_or_something_is_pruned():
    for level in (OptimizationLevel.MINIMAL, OptimizationLevel.BALANCED):
        assert told_of_pruning(OptimizationConfig(level=level)) == [], "nobody gave a ratio and nothing is pruned"
        given = told_of_pruning(OptimizationConfig(level=level, reduction=ReductionConfig(prune_ratio=0.3)))
        assert len(given) == 1 and f"a study at level {level.value} removes no channels" in given[0]
    assert OptimizationConfig().resolve().config.reduction.prune_ratio == 0.2, "conservative all the same"
    critical = told_of_pruning(stated())
    assert critical == ["pruning ratio: at most 20% in place of 30% (medical model)"], "its search obeys"
    assert told_of_pruning(OptimizationConfig(level=OptimizationLevel.AGGRESSIVE)) == []


@pytest.mark.parametrize(("text", "told"), [("", 0), ("reduction: {prune_ratio: 0.3}\n", 1)])
def test_the_command_line_tells_no_default_for_a_wish(tmp_path, text, told):
    (tmp_path / "c.yaml").write_text(f"threads: 1\n{text}")
    found = _configure(tmp_path / "c.yaml", {}, {}, {}, {"largest_ratio": 0.4, "explore": None})
    assert found.reduction.largest_ratio == 0.4 and len(told_of_pruning(found)) == told


@given(configs)
@settings(deadline=None, max_examples=60)
def test_resolving_is_idempotent_and_never_loosens(config):
    if config.level is OptimizationLevel.MEDICAL_CRITICAL:
        config.policy = config.policy.model_copy(update={"margins": STATED})
    first = config.resolve()
    assert first.config.resolve().config == first.config and not first.config.resolve().adjustments
    assert first.config.validation.accuracy_threshold >= config.validation.accuracy_threshold
    assert first.config.reduction.prune_ratio <= config.reduction.prune_ratio
    for note in first.adjustments:
        new, _, old = note.partition(" in place of ")
        assert not old or new.split()[-1] != old.split()[0], note


@pytest.mark.parametrize("off", ["preserve_medical_accuracy", "auto_adjust_for_medical"])
def test_adjustments_can_be_switched_off_below_medical_critical(off):
    asked = OptimizationConfig(**{off: False}, reduction=ReductionConfig(prune_ratio=0.5))
    assert asked.resolve().config == asked and asked.resolve().adjustments == ()
    critical = stated(**{off: False}, reduction=ReductionConfig(prune_ratio=0.5)).resolve()
    assert critical.config.reduction.prune_ratio == 0.2 and critical.adjustments


@pytest.mark.parametrize(
    ("missing", "flag"),
    [
        ("sensitivity", "--margin"),
        ("specificity", "--margin"),
        ("auroc", "--auroc-margin"),
        ("brier", "--brier-margin"),
    ],
)
def test_medical_critical_demands_every_margin(missing, flag):
    policy = ClinicalPolicy(margins=STATED.model_copy(update={missing: None}))
    with pytest.raises(InputError, match=f"{missing}.*{flag}"):
        OptimizationConfig(level=OptimizationLevel.MEDICAL_CRITICAL, policy=policy).resolve()


def test_medical_critical_refuses_unproven_candidates_and_blocks_on_small_subgroups():
    with pytest.raises(InputError, match="accept-inconclusive"):
        stated(accept_inconclusive=True).resolve()
    assert stated().resolve().config.policy.block_on_insufficient
    assert not OptimizationConfig().resolve().config.policy.block_on_insufficient


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
@pytest.mark.parametrize("name", ["sensitivity", "kappa", "error"])
def test_a_margin_is_a_finite_number_above_nothing(name, value):
    with pytest.raises(ValidationError):
        Margins(**{name: value})


def test_margins_tell_given_from_default():
    some = Margins(auroc=0.03)
    assert some.value("auroc") == 0.03 and some.given("auroc")
    assert some.value("brier") == DEFAULT_MARGINS["brier"] and not some.given("brier")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("quantization", "quantization_type", "int2"),
        ("reduction", "prune_ratio", 1.0),
        ("validation", "accuracy_threshold", 0),
    ],
)
def test_assignment_is_checked_too(part, name, value):
    config = OptimizationConfig()
    with pytest.raises(ValidationError):
        setattr(getattr(config, part), name, value)


def test_medical_critical_guards_by_default_and_can_be_told_not_to():
    margins = Margins(sensitivity=0.02, specificity=0.02, auroc=0.01, brier=0.01)
    critical = {"level": OptimizationLevel.MEDICAL_CRITICAL, "policy": ClinicalPolicy(margins=margins)}
    resolved = OptimizationConfig(**critical).resolve()
    assert resolved.guard == GuardPolicy() and any("guarded prediction is on" in a for a in resolved.adjustments)
    assert OptimizationConfig(**critical, guard="off").resolve().guard is None
    assert OptimizationConfig().resolve().guard is None
    stated = GuardPolicy(epsilon=0.01)
    assert OptimizationConfig(**critical, guard=stated).resolve().guard == stated


def test_medical_critical_asks_for_the_margins_of_its_task():
    with pytest.raises(InputError, match="missing: error"):
        OptimizationConfig(level=OptimizationLevel.MEDICAL_CRITICAL).resolve(Task.REGRESSION)
    policy = ClinicalPolicy(margins=Margins(error=1.5))
    config = OptimizationConfig(level=OptimizationLevel.MEDICAL_CRITICAL, policy=policy)
    assert config.resolve(Task.REGRESSION).guard is None, "a model that decides nothing cannot be guarded"


def test_tolerances_are_told_with_the_outputs_that_have_them():
    outputs = ("age", "weight")
    one = ClinicalPolicy(tolerance=2.0)
    each = ClinicalPolicy(tolerances={"age": 2.0, "weight": 5.0})
    assert (one.list_tolerances(outputs), one.say_tolerances(outputs)) == ("2", "tolerance of 2")
    assert each.say_tolerances(outputs) == "tolerances (age 2, weight 5)"
    assert ClinicalPolicy(tolerances={"age": 2.0}).list_tolerances(outputs) == "age 2"
    assert ClinicalPolicy().say_tolerances(outputs) == ""


def test_actions_start_at_zero_and_rise():
    good = (Action(name="discharge", at=0), Action(name="review", at=0.2), Action(name="admit", at=0.7))
    assert ClinicalPolicy(actions=good).actions == good
    for wrong in (good[1:], (good[0], good[2], good[1]), (good[0], good[0])):
        with pytest.raises(ValidationError, match="start at 0 and rise"):
            ClinicalPolicy(actions=wrong)


def test_one_rate_is_held_not_two():
    for wrong in ({}, {"specificity": 0.9, "sensitivity": 0.9}):
        with pytest.raises(ValidationError, match="either a specificity or a sensitivity"):
            OperatingPoint(**wrong)


def test_a_required_compliance_holds_the_medical_threshold_unless_another_was_given():
    assert ValidationConfig().accuracy_threshold == 0.95
    assert ValidationConfig(medical_compliance_required=True).accuracy_threshold == MEDICAL_ACCURACY == 0.98
    assert ValidationConfig(accuracy_threshold=0.98, medical_compliance_required=True).accuracy_threshold == 0.98
    assert ValidationConfig(accuracy_threshold=0.9, medical_compliance_required=True).accuracy_threshold == 0.9
    assert ValidationConfig(medical_compliance_required=False).accuracy_threshold == 0.95
    assert "0.98" in repr(ValidationConfig(medical_compliance_required=True)), "it can be seen"


def test_the_medical_threshold_follows_later_assignments():
    config = ValidationConfig()
    config.medical_compliance_required = True
    assert config.accuracy_threshold == 0.98
    assert config.model_copy(deep=True).accuracy_threshold == 0.98
    config.medical_compliance_required = False
    assert config.accuracy_threshold == 0.95
    config.accuracy_threshold = 0.9
    config.medical_compliance_required = True
    assert config.accuracy_threshold == 0.9


def test_the_command_line_holds_the_medical_threshold():
    from inspect import signature

    from primum.cli.validate import run

    assert signature(run).parameters["accuracy_threshold"].default == MEDICAL_ACCURACY


def test_a_runtime_to_deliver_must_be_among_those_tried():
    with pytest.raises(InputError, match="openvino, which is not among the runtimes to try.*--target"):
        OptimizationConfig(runtimes=("onnxruntime",), deliver=("onnxruntime", "openvino")).resolve()
    with pytest.raises(InputError, match="onnxruntime more than once"):
        OptimizationConfig(deliver=("onnxruntime", "onnxruntime")).resolve()
    both = OptimizationConfig(runtimes=("torch", "openvino"), deliver=("openvino",)).resolve()
    assert (
        both.config.runtimes == ("torch", "openvino") and both.adjustments == OptimizationConfig().resolve().adjustments
    )


def test_only_what_is_delivered_is_tried_unless_more_is_asked_for():
    resolved = OptimizationConfig(deliver=("openvino", "onnxruntime")).resolve()
    assert resolved.config.runtimes == ("openvino", "onnxruntime")
    assert any("are tried: openvino, onnxruntime" in note for note in resolved.adjustments)


@given(confidence=st.floats(0.6, 0.999), names=st.lists(st.sampled_from("abcdef"), unique=True, max_size=6))
def test_the_errors_of_all_claims_add_up_to_that_of_one(confidence, names):
    config = OptimizationConfig(deliver=tuple(names), policy=ClinicalPolicy(confidence=confidence))
    resolved = config.resolve()
    each = (1 - resolved.policy.confidence) / 2
    assert each * max(len(names), 1) == pytest.approx((1 - confidence) / 2)
    again = resolved.config.resolve()
    assert again.policy == resolved.policy and again.config == resolved.config, "resolving twice shares once"
    assert resolved.config.policy.confidence == confidence


def test_two_claims_of_the_default_policy_have_an_error_of_0_0125_each():
    policy = OptimizationConfig(deliver=("openvino", "onnxruntime")).resolve().policy
    assert 1 - policy.confidence == pytest.approx(0.025)


def test_an_objective_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="latency"):
        OptimizationConfig(objective="beauty")


def test_claims_share_the_delta_of_their_guards():
    def guard(delta: float | None, *deliver: str) -> GuardPolicy | None:
        asked = OptimizationConfig(guard=GuardPolicy(epsilon=0.01, delta=delta), deliver=deliver)
        return asked.resolve().guard

    assert guard(0.05).delta == 0.05 and guard(0.05, "onnxruntime", "openvino").delta == 0.025
    assert guard(None, "onnxruntime", "openvino").delta is None
