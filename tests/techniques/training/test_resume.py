"""A training that was killed goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import learning
import pytest
import torch

from primum.techniques.context import Context
from primum.techniques.training import Augmentation, TrainingConfig, task_loss, train, trainer

SUPPORT = Path(learning.__file__).parent
SETTINGS = [{}, {"ema": 0.9, "mixup": 0.3, "optimizer": "sgd"}, {"precision": "bf16", "patience": 50}]


def run(work, slow=0.0, settings=None, epochs=6):
    model = learning.small()
    config = TrainingConfig(epochs=epochs, batch=16, **(settings or {}))
    plain = task_loss(learning.stripes_signature())

    def loss(outputs, labels):
        time.sleep(slow)
        return plain(outputs, labels)

    context = Context(seed=3, signature=learning.stripes_signature(), work=work)
    result = train(model, loss, learning.stripes(), config, context, Augmentation(), name="fit")
    return model, result, context


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


class Stop(Exception):
    pass


def interrupt(work, after, monkeypatch, **more):
    """Stop right after the checkpoint of epoch `after`, with what a kill would leave behind."""
    plain = trainer.save

    def save(path, state):
        plain(path, state)
        if len(state["history"]) == after:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save", save)
        patch.setattr(trainer, "EVERY_SECONDS", 0.0)
        with pytest.raises(Stop):
            run(work, **more)


@pytest.mark.parametrize("settings", SETTINGS)
def test_taken_up_again_it_ends_with_the_same_bits(tmp_path, monkeypatch, settings):
    expected, whole, _ = run(None, settings=settings)
    interrupt(tmp_path, 3, monkeypatch, settings=settings)
    model, result, context = run(tmp_path, settings=settings)
    assert result.resumed_after == 3 and whole.resumed_after == 0
    assert same(model, expected)
    assert [e.train_loss for e in result.epochs] == [e.train_loss for e in whole.epochs]
    assert any("taken up again after epoch 3" in note for note in context.notes)


def test_killed_with_kill_9(tmp_path):
    code = (
        "import sys; from pathlib import Path; import importlib.util as u\n"
        f"spec = u.spec_from_file_location('resume_child', {__file__!r}); child = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(child); child.trainer.EVERY_SECONDS = 0.0\n"
        "child.run(Path(sys.argv[1]), slow=0.15)\n"
    )
    path = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=env)
    until = time.monotonic() + 120
    while time.monotonic() < until and child.poll() is None:
        if history(tmp_path) >= 2:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    done = history(tmp_path)
    assert 2 <= done < 6
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected, _, _ = run(None)
        model, result, _ = run(tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert result.resumed_after == done and len(result.epochs) == 6
    for one, other in zip(model.state_dict().values(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def history(work):
    """Epochs of the checkpoint in `work`; 0 where there is none."""
    files = list(work.glob("fit-*.pt"))
    return len(torch.load(files[0], weights_only=True)["history"]) if files else 0


def test_finished_it_is_not_done_again(tmp_path):
    model, result, _ = run(tmp_path)
    (file,) = tmp_path.glob("fit-*.pt")
    assert torch.load(file, weights_only=True)["optimizer"] is None
    again, second, _ = run(tmp_path, slow=60)
    assert same(model, again) and second.resumed_after == 6 and second.epochs == result.epochs


def test_another_training_does_not_take_up_this_one(tmp_path):
    run(tmp_path, epochs=1)
    _, result, _ = run(tmp_path, epochs=2)
    assert result.resumed_after == 0 and len(list(tmp_path.glob("fit-*.pt"))) == 2


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_said_and_started_anew(tmp_path, damage):
    model, _, _ = run(tmp_path, epochs=2)
    (file,) = tmp_path.glob("fit-*.pt")
    file.write_bytes(file.read_bytes()[:3000] if damage is None else damage)
    again, result, context = run(tmp_path, epochs=2)
    assert result.resumed_after == 0 and same(model, again)
    assert any("cannot be read" in note for note in context.notes)


def test_a_checkpoint_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    run(tmp_path, epochs=1)
    (file,) = tmp_path.glob("fit-*.pt")
    torch.save({"version": 1, "history": Bomb()}, file)
    _, result, context = run(tmp_path, epochs=1)
    assert not (tmp_path / "exploded").exists() and result.resumed_after == 0
    assert any("cannot be read" in note for note in context.notes)
