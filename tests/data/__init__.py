"""Tests of what judges a model: images, readers, splits, the ledger."""
