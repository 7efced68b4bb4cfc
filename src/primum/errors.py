"""Every exception primum raises: what went wrong, where, and what to do about it.

Messages go to the person at the terminal, never to a log: they name the file that must be mended, and nothing of
what is in it.
"""


class PrimumError(Exception):
    """Base of everything primum raises. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class InputError(PrimumError):
    """What the user handed in cannot be used: a wrong path, a label that does not match, a corrupt file."""

    exit_code = 2


class UnsafeInput(InputError):
    """A model or data file that would run code, leave its folder, or exhaust memory when opened. It was not opened."""


class MissingExtra(InputError):
    """A feature whose optional dependency is not installed; the message is the line that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'primum[{extra}]'")
        self.feature, self.extra = feature, extra


class UnsupportedFormat(InputError):
    """A file of a format that is not read here, which need not be damaged: convert it."""


class IntegrityError(PrimumError):
    """An artifact whose files do not match its manifest. Nothing of it was opened."""

    exit_code = 2


class StorageError(PrimumError):
    """Writing failed (disk full, no permission). Nothing half-written remains."""

    exit_code = 2


class TrialError(PrimumError):
    """One candidate failed: it did not build, did not agree with the original, or its process died.

    A failed trial is a result of the study, never its end.
    """


class BudgetSpent(TrialError):
    """A trial that was cut off when the time for trials was spent: no result, and run again where there is more."""


class UnprovenWarning(UserWarning):
    """An artifact delivered with --accept-inconclusive was loaded: nothing shows that it is no worse than its original.

    No exception: who asked for such an artifact may use it, and is told each time.
    """


class RequestRejected(PrimumError):
    """A request that the batcher did not take, or turned away again; `reason` says why, in one word.

    `retry_after_s`: where it was for load, when to try again, in seconds.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None, detail: str = "") -> None:
        super().__init__(f"the request was rejected: {detail or reason.replace('_', ' ')}")
        self.reason, self.retry_after_s = reason, retry_after_s


class RequestExpired(PrimumError):
    """A request that could not be answered by its deadline; it was not run. `reason` says why, in one word."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the request expired: {reason.replace('_', ' ')}")
        self.reason = reason


class OutputCountError(PrimumError):
    """The model returned another number of outputs than it was given inputs: no output can be told whose it is."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(f"the model returned {outputs} outputs for {inputs} inputs: it must return one for each")
        self.inputs, self.outputs = inputs, outputs


class ExecutorHung(PrimumError):
    """A model call that did not return in time. Its executor was given up and replaced."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the model did not answer within {seconds:g} s; its executor was replaced")
        self.seconds = seconds


class ExecutorDied(PrimumError):
    """The process that ran a model call died; it is replaced. `how`: by which signal, or with which exit status.

    `out_of_memory`: the machine had no memory left and ended it.
    """

    def __init__(self, how: str, out_of_memory: bool = False) -> None:
        super().__init__(f"the process that ran the model died ({how}); another takes its place")
        self.how, self.out_of_memory = how, out_of_memory
