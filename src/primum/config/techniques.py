"""What may be done to a network, and what the scores are held against: the specification's own config classes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from primum.errors import InputError


class QuantizationType(StrEnum):
    """Lowest precision that the search may use."""

    INT8 = "int8"
    INT4 = "int4"


class QuantizationScheme(StrEnum):
    """How layers of a torch module are quantized."""

    DYNAMIC = "dynamic"
    """INT8 weights; activation ranges taken anew from each input."""
    STATIC = "static"
    """INT8 weights and activations; ranges from calibration data."""
    QAT = "qat"
    """INT8 weights and activations, trained with the rounding in place."""
    WEIGHT_ONLY = "weight_only"
    """Weights alone, of Linear layers, in 8 or 4 bits."""


class QuantizationConfig(BaseModel):
    """What may be done to weights and activations; mutable until a quantizer uses it, then frozen.

    `quantization_type` is the lowest precision that the search may use, or names the scheme outright. Raises pydantic's
    ValidationError where two fields contradict each other, InputError on a change after use.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    quantization_type: QuantizationType | QuantizationScheme = QuantizationType.INT8
    load_in_8bit: bool = False
    """INT8 weights of Linear layers, the rest FP32 (bitsandbytes' name for it)."""
    load_in_4bit: bool = False
    """4-bit weights of Linear layers, the rest FP32."""
    dtype: str | None = None
    """Name of the integer type of the weights, "qint8"; a torch.dtype is taken by its name."""
    bits: Literal[4, 8] | None = None
    """Bits of the weights; None: 4 for INT4 and `load_in_4bit`, else 8."""
    quantize_weights: bool = True
    quantize_activations: bool | None = None
    """None: as the scheme has it."""
    _in_use: bool = PrivateAttr(False)

    @field_validator("dtype", mode="before")
    @classmethod
    def _name_of_dtype(cls, value: Any) -> Any:
        name = None if value is None else str(value).removeprefix("torch.")
        if name not in (None, "qint8", "int8"):
            raise ValueError(f"weights are quantized to qint8, not to {name}")
        return name

    @model_validator(mode="after")
    def _agree(self) -> QuantizationConfig:
        fours = self.quantization_type is QuantizationType.INT4 or self.load_in_4bit
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit exclude each other")
        if fours and (self.bits == 8 or self.load_in_8bit):
            raise ValueError("4 bits are asked for (INT4 or load_in_4bit) and 8 bits too: leave one out")
        if self.bits == 4 and self.load_in_8bit:
            raise ValueError("bits=4 and load_in_8bit exclude each other")
        if not self.quantize_weights:
            raise ValueError("every scheme quantizes the weights: quantize_weights cannot be False")
        if self.quantization_type is QuantizationScheme.DYNAMIC and self.quantize_activations:
            raise ValueError("dynamic quantization stores activations in floating point: quantize_activations=False")
        return self

    @property
    def weight_bits(self) -> int:
        """Bits of the weights that all fields together ask for: 4 or 8."""
        return self.bits or (4 if self.quantization_type is QuantizationType.INT4 or self.load_in_4bit else 8)

    def in_use(self) -> QuantizationConfig:
        """Freeze this configuration and return it."""
        self._in_use = True
        return self

    def in_eight_bits(self) -> QuantizationConfig:
        """A copy that asks for 8 bits where this asks for 4."""
        kind = QuantizationType.INT8 if self.quantization_type is QuantizationType.INT4 else self.quantization_type
        values = self.model_dump() | {"quantization_type": kind, "load_in_4bit": False, "bits": None}
        return QuantizationConfig.model_validate(values)

    def __eq__(self, other: object) -> bool:
        """Equal settings, in use or not."""
        return isinstance(other, QuantizationConfig) and self.model_dump() == other.model_dump()

    def __setattr__(self, name: str, value: Any) -> None:
        """InputError on a change after use."""
        if name in type(self).model_fields and self._in_use:
            raise InputError(f"this QuantizationConfig is in use, {name} cannot change: make a new one")
        super().__setattr__(name, value)


_ACCURACY = 0.95
MEDICAL_ACCURACY = 0.98


class ValidationConfig(BaseModel):
    """What the spec's scores are held against; a study always validates, and its margins decide."""

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    accuracy_threshold: float = Field(_ACCURACY, gt=0, le=1)
    """Share of the original's accuracy to be retained, for the medical-accuracy score. Unless one is given: 0.95, and
    0.98 where medical compliance is required."""
    medical_compliance_required: bool = False
    """QuantizationValidator: a subgroup too small to decide blocks (in a study the level decides that)."""

    @model_validator(mode="after")
    def _medical_threshold(self) -> ValidationConfig:
        if "accuracy_threshold" not in self.model_fields_set:
            # Past validate_assignment, which would call this again and take the threshold as given.
            self.__dict__["accuracy_threshold"] = MEDICAL_ACCURACY if self.medical_compliance_required else _ACCURACY
        return self


class PruningMethod(StrEnum):
    """How a network is pruned."""

    MAGNITUDE = "magnitude"
    """The smallest weights become zero."""
    STRUCTURED = "structured"
    """Whole channels are removed, the smallest first."""
    GRADUAL = "gradual"
    """The smallest weights become zero, in steps."""
    ACTIVATION = "activation"
    """Whole channels are removed, those that carry least on calibration data first."""


class ReductionConfig(BaseModel):
    """How much may be removed from the network, and how."""

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    prune_ratio: float = Field(0.3, ge=0, lt=1)
    """What ModelReducer removes unless it is told otherwise."""
    largest_ratio: float | None = Field(None, gt=0, lt=1)
    """The largest share of channels that a study's search may remove; None: by level, at most 0.2 where critical."""
    prune_method: PruningMethod = PruningMethod.MAGNITUDE
    """Of ModelReducer."""
    training_minutes: float = Field(10.0, gt=0)
    """Of one training in a study's search."""
    explore: int = Field(0, ge=0)
    """Recipes that a study explores by Optuna after its search; 0: none. Needs primum[search]."""


MEDICAL_PRUNE_RATIO = 0.2
