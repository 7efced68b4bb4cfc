"""Techniques: torch module in, torch module out; none imports a runtime. Importing the room registers them."""

from primum.techniques import batch_norm as batch_norm
from primum.techniques import distillation as distillation
from primum.techniques import precision as precision
from primum.techniques import pruning as pruning
from primum.techniques import quantization as quantization
from primum.techniques import rounding as rounding
from primum.techniques import students as students
