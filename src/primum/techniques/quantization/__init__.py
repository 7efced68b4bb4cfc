"""Quantization of torch modules: dynamic, static, weight-only, trained; importing the package registers them."""
