"""One guess at what the port computes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Candidate:
    """A guess in words, the value that it predicts for the port, and how many numbers were fitted to it."""

    text: str
    predicted: np.ndarray
    parameters: int = 0
