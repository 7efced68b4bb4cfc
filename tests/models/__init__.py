"""Tests of what comes in: references, checkpoints, signatures."""
