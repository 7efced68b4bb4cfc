"""A further worker of a study that another process leads: it runs trials, and never declares, confirms or seals."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from primum.errors import InputError
from primum.files import storage
from primum.hardware.machine import this_machine
from primum.progress import Progress, Silent
from primum.study.leases import Leases
from primum.study.planner import Proposal, baseline_recipe
from primum.study.runner import Runner
from primum.study.store import Store
from primum.study.trial import Trial
from primum.task import Task
from primum.workflows.prepare import Prepared, fingerprint, prepare
from primum.workflows.request import OptimizeRequest
from primum.workflows.sharing import POLL_S, asked, heard
from primum.workflows.trials import Trials

LEADER_S = 60.0
"""How long a joiner waits for a leader before there is one."""


@dataclass(frozen=True)
class Joined:
    """What one worker did."""

    worker: str
    ran: tuple[Trial, ...]
    """The trials that it ran itself."""
    ended: str
    """Why it stopped."""


def join(request: OptimizeRequest, progress: Progress | None = None) -> Joined:
    """Take trials of the study in `request.out` until none is left.

    The leader must have been asked the same, on a machine of the same kind. Raises InputError where it was not, or
    where nobody leads a study there.
    """
    progress = progress or Silent()
    resolved = request.config.resolve(request.options.task or Task.BINARY)
    store, worker = Store(request.out / "study"), secrets.token_hex(4)
    with storage(request.out), store.joined(worker) as own:
        progress.stage("Waiting for the leader")
        _await(store, lambda: store.led, LEADER_S)
        prepared = prepare(request, resolved, own, progress, store)
        _await(store, lambda: heard(store)[0] is not None)
        advice = "join with the arguments that the leader was given, on a machine of the same kind"
        store.meet(fingerprint(prepared, resolved), "study", advice)
        store.meet(asked(resolved.config, request.recipes), "asked", advice)
        store.same_answers(prepared.answers)
        return _work(request, store, prepared, worker, progress)


def _work(request: OptimizeRequest, store: Store, prepared: Prepared, worker: str, progress: Progress) -> Joined:
    config, from_torch = request.config.resolve(request.options.task or Task.BINARY).config, request.model.onnx is None
    runner = Runner(
        prepared.original,
        prepared.judging,
        store,
        Proposal(baseline_recipe(from_torch, config.threads), "the original as it stands"),
        config.seed,
        request.trial_timeout_s,
        prepared.training,
        Leases(store.folder / "leases", worker),
    )
    with runner:
        baseline = runner.known(runner.baseline_key)
        assert baseline is not None  # the leader tells what there is to do after it ran the original
        trials = Trials(runner, prepared, config, this_machine(), progress)
        ended = trials.assist(baseline, from_torch, request.recipes)
    return Joined(worker, tuple(trials.ran), ended)


def _await(store: Store, there: Callable[[], bool], patience: float = 0.0) -> None:
    """Wait for the leader's part; InputError where nobody leads the study, for longer than `patience` seconds."""
    deadline = time.monotonic() + patience
    while not there():
        if time.monotonic() > deadline and not store.led:
            raise InputError(f"{store.folder}: nobody leads a study here: start one first, without --join")
        time.sleep(POLL_S)
