"""Training: one loop, whichever engine drives it."""

from align.training.loop import Iteration, Micro, train

__all__ = ["Iteration", "Micro", "train"]
