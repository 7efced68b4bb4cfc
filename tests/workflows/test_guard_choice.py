"""Which candidate gets a guard band, and what the ledger says of the guard patients."""

from types import SimpleNamespace

import pytest
from studies import config, run

from primum.config import GuardPolicy, OptimizationConfig, OptimizationLevel
from primum.data.ledger import GUARD, Ledger
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.techniques.registry import make

ROUNDED = tuple(
    Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": bits}),)) for bits in (2, 3, 4)
)


def asked(guard: GuardPolicy) -> OptimizationConfig:
    return config(guard=guard, runtimes=("onnxruntime",), level=OptimizationLevel.MINIMAL)


def looks() -> list:
    return [o for o in Ledger().openings() if o.look == GUARD]


@pytest.fixture(autouse=True)
def speed_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded weights gain no speed; here every working candidate counts as fast enough."""
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)


def test_of_several_candidates_one_is_fixed_before_the_guard_part_is_opened(workshop: SimpleNamespace, tmp_path):
    first = run(workshop, tmp_path / "a", config=asked(GuardPolicy(epsilon=0.02, delta=None)), recipes=ROUNDED)
    made = [t for t in first.result.trials if t.guard is not None]
    assert len(made) == 1, "a band chosen among several breaks its bound"
    assert first.result.guard is None or (first.result.guard.bands, first.result.guard.prior) == (1, ())
    said = " ".join(f"{item.what}: {item.why}" for item in first.result.left_out)
    assert "guarded forms of 2 other candidates" in said
    assert len(looks()) == 1

    run(workshop, tmp_path / "a", config=asked(GuardPolicy(epsilon=0.02, delta=None)), recipes=ROUNDED)
    assert len(looks()) == 1, "an exact re-run is no new look"

    again = run(workshop, tmp_path / "b", config=asked(GuardPolicy(epsilon=0.018, delta=None)), recipes=ROUNDED[:1])
    assert len(looks()) == 2
    (told,) = again.result.guard.prior
    assert "100% of these guard cases" in told and "not the first look" in told


def test_a_guard_part_that_is_too_small_stays_closed(workshop: SimpleNamespace, tmp_path):
    run(workshop, tmp_path / "out", config=asked(GuardPolicy(epsilon=0.001, delta=0.05)), recipes=ROUNDED[:1])
    assert not looks(), "how many patients there are says nothing of a candidate"


def test_each_claim_has_one_band_and_the_report_counts_them(workshop: SimpleNamespace, tmp_path):
    runtimes = ("onnxruntime", "openvino")
    settings = asked(GuardPolicy(epsilon=0.02, delta=None)).model_copy(
        update={"runtimes": runtimes, "deliver": runtimes}
    )
    technique = (make("round_weights", {"bits": 2}),)
    recipes = tuple(Recipe(Target(runtime=name, threads=1), technique) for name in runtimes)
    result = run(workshop, tmp_path / "out", config=settings, recipes=recipes).result
    made = [t for t in result.trials if t.guard is not None]
    assert sorted(t.runtime for t in made) == sorted(runtimes) and len(looks()) == 2
    guards = [claim.guard for claim in result.claims if claim.guard is not None]
    assert guards and all((guard.bands, guard.claims, guard.prior) == (2, 2, ()) for guard in guards)
