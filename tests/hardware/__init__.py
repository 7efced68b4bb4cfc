"""Tests of the machine's facts."""
