"""Metrics, paired statistics and the gate: everything that judges a candidate against the original.

Only numpy and scipy: a statistician can read, run and audit this folder alone.
"""
