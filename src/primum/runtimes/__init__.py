"""Adapters, one a runtime: build files from a model, load them into a session, say what really ran."""
