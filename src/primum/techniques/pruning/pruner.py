"""ModelPruner: prune, then tell what was pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from primum.config import PruningMethod
from primum.errors import InputError
from primum.techniques.pruning.gradual import FineTune
from primum.techniques.pruning.methods import Pruned, prune_by
from primum.techniques.registry import Context

if TYPE_CHECKING:
    import torch


class PruningConfig(BaseModel):
    """How to prune; may be changed until a ModelPruner uses it."""

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    method: PruningMethod = PruningMethod.MAGNITUDE
    amount: float = Field(0.3, ge=0, lt=1)
    """Share of the weights to zero, or of the channels to remove."""
    pruning_dims: list[Literal["weight", "bias"]] = Field(["weight"], min_length=1)
    """Names of the tensors of a layer whose entries may be zeroed; removed channels always go from all of them."""
    n_iterations: int = Field(1, ge=1)
    """Steps of GRADUAL; the other methods prune once."""
    scope: Literal["layer", "global"] = "layer"
    _in_use: bool = PrivateAttr(False)

    def in_use(self) -> PruningConfig:
        """Freeze this configuration and return it."""
        self._in_use = True
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """InputError on a change after use."""
        if name in type(self).model_fields and self._in_use:
            raise InputError(f"this PruningConfig is in use, {name} cannot change: make a new one")
        super().__setattr__(name, value)


class ModelPruner:
    """Prunes copies of one model by one configuration."""

    def __init__(
        self,
        model: torch.nn.Module,
        pruning_config: PruningConfig | None = None,
        *,
        example_inputs: Any = None,
        context: Context | None = None,
        fine_tune: FineTune | None = None,
    ) -> None:
        """`example_inputs` (N, *input_shape) for the methods that trace the model; `fine_tune` for GRADUAL."""
        self.model = model
        self.config = (pruning_config or PruningConfig()).in_use()
        self._example, self._context, self._fine_tune = example_inputs, context or Context(), fine_tune
        self._result: Pruned | None = None

    def prune_model(self) -> torch.nn.Module:
        """A pruned copy. Raises as `prune_by`."""
        config = self.config
        self._result = prune_by(
            self.model,
            config.method,
            config.amount,
            self._context,
            example_inputs=self._example,
            n_iterations=config.n_iterations,
            names=tuple(config.pruning_dims),
            scope=config.scope,
            fine_tune=self._fine_tune,
        )
        return self._result.model

    def get_pruning_info(self) -> dict[str, Any]:
        """Method, amount, notes and every field of PruningInfo ("final_sparsity", "layers"...), of the last pruning.

        Raises InputError before `prune_model`.
        """
        if self._result is None:
            raise InputError("nothing is pruned yet: call prune_model() first")
        asked = {"method": self.config.method.value, "amount": self.config.amount}
        return {**asked, **self._result.info.as_dict(), "notes": list(self._result.notes)}
