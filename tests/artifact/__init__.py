"""Tests of the artifact: manifest, predictor, golden vectors."""
