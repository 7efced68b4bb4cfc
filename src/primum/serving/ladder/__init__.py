"""Which artifact of a model answers, and whether it may: the rungs, who moves among them, who watches decisions."""
