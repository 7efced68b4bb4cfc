"""The OpenAPI description of the paths beside inference."""

from __future__ import annotations

from typing import Any

from primum.level import OptimizationLevel
from primum.serving.http.batches import MOST_CASES
from primum.serving.http.uploads import MOST_IMAGES
from primum.serving.studies.job import State
from primum.serving.studies.jobs import PLATFORMS

Schema = dict[str, Any]
NUMBER: Schema = {"type": ["number", "null"]}
UNPROVEN: Schema = {
    "type": "boolean",
    "description": "Whether nothing shows that the artifact is no worse than its original.",
}
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_COUNTS: Schema = {"type": "object", "additionalProperties": _COUNT}


def _object(required: dict[str, Schema], **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _optional(of: Schema) -> Schema:
    return {"oneOf": [of, {"type": "null"}]}


_ANSWER: dict[str, Schema] = {
    "probabilities": {"type": "object", "additionalProperties": {"type": "number"}, "description": "By class."},
    "decision": {
        "description": "The name of a class; of a model with several labels true or false by label.",
        "oneOf": [_TEXT, {"type": "object", "additionalProperties": {"type": "boolean"}}],
    },
    "values": {"type": "object", "additionalProperties": {"type": "number"}, "description": "Of a regression."},
    "classes": _list(_TEXT),
    "mask": {"type": "array", "description": "Of a segmentation: the index in classes of every pixel."},
    "deferred": {"type": "boolean", "description": "Whether the original of a guarded artifact answered."},
}
_IMAGE = _object(
    {"image": {"type": "integer", "minimum": 1}},
    voi={
        "enum": ["window", "table", "none", "color"],
        "description": "Of a DICOM image: what its grey values were shown by. none: all that its bits can hold.",
    },
    **_ANSWER,
)
_CASE = _object({"index": _COUNT}, error=_TEXT, model_version=_TEXT, **_ANSWER)
_PERFORMANCE = _object(
    {
        "enable_batching": {"type": "boolean"},
        "cases": _COUNT,
        "failed": _COUNT,
        "requests": {**_COUNT, "description": "That the model was asked meanwhile, by whomever; as are the batches."},
        "batches": _COUNT,
        "batch_sizes": _COUNTS,
        "mean_batch_size": NUMBER,
        "mean_queue_ms": NUMBER,
        "compute_ms": {"type": "number"},
        "preprocessing_ms": {"type": "number"},
        "total_ms": {"type": "number"},
        "throughput_cases_per_s": {"type": "number"},
    }
)
_RESULT = _object(
    {
        "accepted": {"type": "boolean"},
        "unproven": UNPROVEN,
        "verdict": _TEXT,
        "recipe": _TEXT,
        "speedup": NUMBER,
        "speedup_interval": {**_list(NUMBER), "minItems": 2, "maxItems": 2},
        "size_ratio": NUMBER,
        "artifact": {**_TEXT, "description": "Below the operator's folder of results, as report."},
        "artifact_digest": _TEXT,
        "report": _TEXT,
    }
)
_JOB = _object(
    {
        "id": _TEXT,
        "model_name": _TEXT,
        "optimization_level": {"enum": [level.value for level in OptimizationLevel]},
        "target_platforms": _list(_TEXT),
        "state": {"enum": [state.value for state in State]},
        "created": _TEXT,
        "started": {"type": ["string", "null"]},
        "ended": {"type": ["string", "null"]},
        "progress": _optional(
            _object({"stage": _TEXT, "done": _COUNT, "total": {"type": ["integer", "null"], "minimum": 0}})
        ),
        "result": _optional(_RESULT),
        "error": {"type": ["string", "null"]},
    }
)
_JOB_REF: Schema = {"$ref": "#/components/schemas/Job"}
_STATUS_MODEL = _object(
    {"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT}, unproven=UNPROVEN, batching={"type": "object"}
)
MORE_SCHEMAS: dict[str, Schema] = {
    "Predictions": _object(
        {"model_name": _TEXT, "model_version": _TEXT, "unproven": UNPROVEN, "predictions": _list(_IMAGE)}
    ),
    "BatchRequest": _object(
        {
            "model_name": _TEXT,
            "data": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_CASES,
                "description": "Raw cases: arrays; rows of a table, as objects or in the order of its columns; images "
                "of 8 bits.",
            },
        },
        enable_batching={"type": "boolean", "default": True},
        priority={**_COUNT, "maximum": 4, "default": 0},
        timeout_ms={"type": ["number", "null"], "exclusiveMinimum": 0},
    ),
    "BatchPredictions": _object(
        {"model_name": _TEXT, "unproven": UNPROVEN, "predictions": _list(_CASE), "performance": _PERFORMANCE}
    ),
    "Status": _object(
        {
            "version": _TEXT,
            "ready": {"type": "boolean"},
            "started": _TEXT,
            "uptime_s": {"type": "number"},
            "worker": {
                "type": ["object", "null"],
                "description": "Which of several workers told this; null: the only one.",
            },
            "machine": {"type": "object"},
            "memory": _object(
                {
                    "peak_bytes": {"type": ["number", "null"]},
                    "used_bytes": {"type": "integer"},
                    "limit_bytes": {"type": "integer"},
                    "source": {"enum": ["cgroup", "system", "peak"]},
                }
            ),
            "models": _list(_STATUS_MODEL),
            "optimization": _object(
                {
                    "enabled": {"type": "boolean"},
                    "models": _list(_TEXT),
                    "platforms": _list(_TEXT),
                    "running": _list(_JOB_REF),
                    "history": _list(_JOB_REF),
                }
            ),
        }
    ),
    "OptimizeRequest": _object(
        {"model_name": _TEXT, "optimization_level": {"enum": [level.value for level in OptimizationLevel]}},
        target_platforms={**_list({"enum": list(PLATFORMS)}), "minItems": 1},
    ),
    "Job": _JOB,
    "Jobs": _object({"jobs": _list(_JOB_REF)}),
    "IndexRequest": _object({}, ready={"type": "boolean"}),
    "Index": _list(
        _object({"name": _TEXT, "version": _TEXT, "state": {"enum": ["READY", "UNAVAILABLE"]}, "reason": _TEXT})
    ),
    "RepositoryRequest": _object({}, parameters={"type": "object"}),
    "Empty": {"type": "object"},
}
_BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}
IMAGE_BODIES: dict[str, Any] = {
    "multipart/form-data": {
        "schema": _object(
            {"image": {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": MOST_IMAGES}}
        )
    },
    **dict.fromkeys(("image/png", "image/jpeg", "application/dicom"), _BINARY),
}
SCHEDULE: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "schema": schema,
        "description": told,
    }
    for name, schema, told in (
        ("priority", {"type": "integer", "minimum": 0, "maximum": 4}, "1 highest, 0 default"),
        ("timeout_ms", {"type": "number", "exclusiveMinimum": 0}, "When an answer is of no use any more"),
    )
]
