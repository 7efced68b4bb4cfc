"""Techniques: torch module in, torch module out. None imports a runtime."""
