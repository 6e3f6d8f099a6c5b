"""Seeded inputs and weights, the same bytes on every machine, made without any framework.

One file per architecture holds its specification (`fake_data/NAME.py`, found by its name):

    batch = make_batch("funnel", "masked_lm", dataclasses.asdict(config))       # the forward's keyword arguments
    for name, array in make_weights("funnel", shapes): …                        # at trained scale
    saturated = saturate("funnel", name, array)                                 # the second probe
    batch = load_batch("mine.npz", "funnel", "masked_lm", config)               # checked against the model
    batch = tokenize_file("text.txt", "checkpoint/", "funnel", "masked_lm", config)
"""

import os
from pathlib import Path

from fake_data.batch import batch_keys, has_labels, label_names, make_batch
from fake_data.check import check_batch
from fake_data.errors import BatchError, WeightError
from fake_data.files import load_batch
from fake_data.situations import label_situations
from fake_data.text import encode_rows, tokenize_file
from fake_data.weights import make_weights, saturate

# Architectures of the user's own are found in the folder `ports`.
__path__.append(str(Path(os.environ.get("PLUMBLINE_PORTS", "ports")).absolute() / "fake_data"))

__all__ = [
    "BatchError",
    "WeightError",
    "batch_keys",
    "check_batch",
    "encode_rows",
    "has_labels",
    "label_names",
    "label_situations",
    "load_batch",
    "make_batch",
    "make_weights",
    "saturate",
    "tokenize_file",
]
