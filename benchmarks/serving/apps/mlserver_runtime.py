"""MLServer: a runtime of one's own, as its manual has it."""

from __future__ import annotations

import base64

import numpy as np
from graph import BINARY, SHAPE, Graph, from_bytes
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    """Binary cases are base64 in a BYTES tensor: its REST face has no binary tensors."""

    async def load(self) -> bool:
        """Load the graph."""
        self.graph = Graph()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Logits of a batch."""
        given = payload.inputs[0]
        if BINARY:
            batch = np.stack([from_bytes(base64.b64decode(one)) for one in StringCodec.decode_input(given)])
        else:
            batch = NumpyCodec.decode_input(given).astype(np.float32).reshape(-1, *SHAPE)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", self.graph(batch))])
