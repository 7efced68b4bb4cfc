"""What distillation minimises: the same view of a batch goes through teacher and student."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from primum.errors import InputError
from primum.models.signature import Signature
from primum.techniques.distillation.config import Distillation
from primum.techniques.distillation.features import Features, pair_layers
from primum.techniques.distillation.losses import check_decoupled, decoupled_kd_loss, soft_loss
from primum.techniques.training.checkpoint import digest
from primum.techniques.training.losses import logits, task_loss
from primum.techniques.training.objective import LossFunction, Objective, Targets, weighted

if TYPE_CHECKING:
    import torch

Note = Callable[[str], None]
_REMEMBERED_BYTES = 2**28


class DistillationObjective(Objective):
    """alpha x soft + (1 - alpha) x hard, + hint_weight x hints while fitting. The teacher is copied, never changed.

    `labels` of all training cases scale REGRESSION; with alpha 1, those of a batch are not used, unless by dkd.
    """

    def __init__(
        self, teacher: torch.nn.Module, signature: Signature, config: Distillation, labels: NDArray[Any] | None = None
    ) -> None:
        if config.method == "dkd":
            check_decoupled(signature)
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.signature, self.config = signature, config
        self.key = digest(self.teacher)
        self.layers: tuple[tuple[str, str], ...] = ()
        """(student's, teacher's) names of hinted layers."""
        self._soft = soft_loss(signature, config.temperature, labels)
        self._hard = task_loss(signature, labels)
        self._features: tuple[Features, Features] | None = None
        self._remembered: dict[bytes, torch.Tensor] = {}

    def start(self, model: torch.nn.Module, example: torch.Tensor) -> None:
        """Bring the teacher to the device, and make the regressors of hints."""
        import torch

        self.teacher.to(example.device)
        layout = torch.channels_last if example.ndim == 4 else torch.preserve_format
        self.teacher.to(memory_format=layout)
        with torch.no_grad():
            mine, known = model.eval()(example.clone()), self.teacher(example.clone())
        if mine.shape != known.shape:
            raise InputError(f"the student gives {tuple(mine.shape)}, the teacher {tuple(known.shape)}")
        if self.config.method == "hints":
            self._watch(model, example)

    def _watch(self, model: torch.nn.Module, example: torch.Tensor) -> None:
        import torch

        from primum.techniques.distillation.hints import HintLoss

        names = self.config.hints or pair_layers(model, self.teacher, example)
        self.layers = tuple((first, second or first) for first, _, second in (n.partition("=") for n in names))
        mine, theirs = zip(*self.layers)
        self._features = Features(model, mine), Features(self.teacher, theirs)
        with torch.no_grad():
            model(example.clone())
            self.teacher(example.clone())
            self.helper = HintLoss(*(f.take() for f in self._features))

    def loss(self, model: torch.nn.Module, inputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The loss of one batch; hints count in fitting alone, so that validation judges outputs."""
        known = self._ask(inputs, remember=not model.training)
        outputs = model(inputs).float()
        config = self.config
        if config.method == "dkd":
            soft = weighted(lambda out, y: self._decoupled(out, known, y), outputs, targets)
        else:
            soft = self._soft(outputs, known)
        total = config.alpha * soft
        if config.alpha < 1:
            total = total + (1 - config.alpha) * weighted(self._hard, outputs, targets)
        if self._features is not None:
            features = [f.take() for f in self._features]
            if model.training and self.helper is not None:
                total = total + config.hint_weight * self.helper(*features)
        return total

    def _ask(self, inputs: torch.Tensor, remember: bool) -> torch.Tensor:
        """The teacher's outputs; those for validation, whose views are the same in every epoch, are remembered."""
        import torch

        # Hints need the teacher's layers to run.
        remember = remember and self._features is None
        key = hashlib.blake2b(inputs.detach().cpu().contiguous().numpy().tobytes()).digest() if remember else b""
        if key in self._remembered:
            return self._remembered[key]
        with torch.no_grad():
            # A copy: a teacher that changes its input in place would change what the student sees.
            known = self.teacher(inputs.clone()).float()
        if remember and sum(x.nbytes for x in self._remembered.values()) + known.nbytes < _REMEMBERED_BYTES:
            self._remembered[key] = known
        return known

    def _decoupled(self, outputs: torch.Tensor, known: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        mine, theirs = logits(outputs, self.signature), logits(known, self.signature)
        return decoupled_kd_loss(mine, theirs, labels, self.config.temperature, other_weight=self.config.beta)

    def finish(self) -> None:
        """Remove what watches the layers, and what was remembered."""
        for features in self._features or ():
            features.close()
        self._remembered.clear()


def taught_by(
    teacher: torch.nn.Module | None, signature: Signature, config: Distillation, labels: NDArray[Any], note: Note
) -> LossFunction | Objective:
    """What a network learns from: teacher and labels; labels alone where there is no teacher, or alpha is 0."""
    if teacher is None or config.alpha == 0:
        note("taught by labels alone")
        return task_loss(signature, labels)
    return DistillationObjective(teacher, signature, config, labels)
