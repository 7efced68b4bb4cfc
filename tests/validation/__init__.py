"""Tests of the statistics and the gate."""
