"""LitServe: `python litserve_app.py PORT [window seconds, 0 for no batching]`."""

from __future__ import annotations

import base64
import sys

import litserve
import numpy as np
from graph import BINARY, Graph, from_bytes, from_numbers

_PORT, _WINDOW = int(sys.argv[1]), float(sys.argv[2])


class Api(litserve.LitAPI):
    """One case a request. LitServe takes JSON alone, so binary cases are base64 in it."""

    def setup(self, device):
        """Load the graph."""
        self.graph = Graph()

    def decode_request(self, request):
        """One case."""
        given = request["x"]
        return from_bytes(base64.b64decode(given)) if BINARY else from_numbers(given)

    def predict(self, x):
        """Logits of a batch, or of one case where nothing is batched."""
        return self.graph(np.ascontiguousarray(x)) if _WINDOW else self.graph(x[None])[0]

    def batch(self, inputs):
        """Cases to a batch."""
        return np.stack(inputs)

    def unbatch(self, output):
        """A batch to cases."""
        return list(output)

    def encode_response(self, output):
        """One answer."""
        return {"y": output.tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=_WINDOW) if _WINDOW else Api()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=_PORT, num_api_servers=1, generate_client_file=False, log_level="error")
