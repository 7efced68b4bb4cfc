"""Training: one loop for distillation, fine-tuning after pruning and quantization-aware training.

Importing it loads no torch.
"""

from primum.techniques.training.augmentation import Augmentation, usual_augmentation
from primum.techniques.training.config import TrainingConfig
from primum.techniques.training.losses import check_labels, task_loss
from primum.techniques.training.objective import Objective, Supervised
from primum.techniques.training.result import Epoch, TrainingResult
from primum.techniques.training.trainer import train

__all__ = [
    "Augmentation",
    "Epoch",
    "Objective",
    "Supervised",
    "TrainingConfig",
    "TrainingResult",
    "check_labels",
    "task_loss",
    "train",
    "usual_augmentation",
]
