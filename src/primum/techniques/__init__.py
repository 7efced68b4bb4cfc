"""Techniques: torch module in, torch module out; none imports a runtime. Importing the room registers them."""

from primum.techniques import rounding as rounding
