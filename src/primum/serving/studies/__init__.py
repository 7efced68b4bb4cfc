"""Optimizations in the background of a server: those that the operator offers, their jobs and their processes."""
