"""Tests of the on-demand benchmarks: that they run and that their checks fire."""
