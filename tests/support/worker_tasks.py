"""What a child is given to do in tests of processes."""

import time

import numpy as np


def train(seconds: float) -> None:
    """Work that does not end by itself."""
    end = time.monotonic() + seconds
    matrix = np.eye(200)
    while time.monotonic() < end:
        matrix = matrix @ matrix
