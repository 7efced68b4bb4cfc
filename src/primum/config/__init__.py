"""What the user asks for: the level, the clinical policy, what may be done; pydantic, YAML and TOML in and out."""

from primum.config.batching import BatchConfig, BatchStrategy
from primum.config.optimization import OptimizationConfig, ResolvedConfig, shared
from primum.config.policy import (
    DEFAULT_MARGINS,
    MARGINS_OF,
    Action,
    ClinicalPolicy,
    GuardPolicy,
    Margins,
    OperatingPoint,
    kind_of,
)
from primum.config.reading import explain, nearest, read_mapping
from primum.config.techniques import (
    MEDICAL_ACCURACY,
    MEDICAL_PRUNE_RATIO,
    PruningMethod,
    QuantizationConfig,
    QuantizationScheme,
    QuantizationType,
    ReductionConfig,
    ValidationConfig,
)
from primum.level import OptimizationLevel

__all__ = [
    "Action",
    "BatchConfig",
    "BatchStrategy",
    "ClinicalPolicy",
    "DEFAULT_MARGINS",
    "GuardPolicy",
    "MARGINS_OF",
    "MEDICAL_ACCURACY",
    "MEDICAL_PRUNE_RATIO",
    "Margins",
    "OperatingPoint",
    "OptimizationConfig",
    "OptimizationLevel",
    "PruningMethod",
    "QuantizationConfig",
    "QuantizationScheme",
    "QuantizationType",
    "ReductionConfig",
    "ResolvedConfig",
    "ValidationConfig",
    "explain",
    "nearest",
    "kind_of",
    "read_mapping",
    "shared",
]
