"""Live models: a checkpoint in any layout becomes a model of ours, and a model of ours a checkpoint in any layout.

The model's class tells the framework; only `live/torch.py` and `live/paddle.py` import theirs, and only when a model
of it is at hand.
"""

from convert.live.framework import config_class
from convert.live.loading import load
from convert.live.saving import save

__all__ = ["config_class", "load", "save"]
