"""Bytes to named arrays and back: bodies, tensors, and the Open Inference Protocol's JSON and binary forms."""
