"""Learning-rate schedules, in no framework's words: functions of the update's number, 0 for the first.

With W the updates of warm-up, T all updates, k the number of one and q = (k − W) / (T − W) the share that is done:

constant    η
linear      η(1 − q)
cosine      e + (η − e)(1 + cos πq)/2, e = η·end
polynomial  e + (η − e)(1 − q)^power

each held at its last value from k = T on, and ηk/W while k < W, so the first update of a warm-up does nothing
(transformers' form, and Paddle's LinearWarmup). ELECTRA composes instead: the decay runs over all T updates from the
first on, and is multiplied by min(1, k/W).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

NAMES = ("constant", "linear", "cosine", "polynomial")


@dataclass(frozen=True)
class Schedule:
    """One schedule over `total` updates.

    `warmup` counts updates where it is an integer, and is their share of `total` where it is a float; that share is
    rounded up, as transformers does. `end` is the last learning rate in units of the base rate, for cosine and
    polynomial.
    """

    name: str
    total: int
    warmup: int | float = 0
    end: float = 0.0
    power: float = 1.0
    composed: bool = False

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown schedule {self.name!r}: choose from {', '.join(NAMES)}")
        if not 0 <= self.warmup_updates <= self.total:
            raise ValueError(f"warm-up of {self.warmup_updates} updates in {self.total}")

    @property
    def warmup_updates(self) -> int:
        return math.ceil(self.total * self.warmup) if isinstance(self.warmup, float) else self.warmup

    def __call__(self, lr: float, update: int) -> float:
        """The learning rate of one update, of base rate `lr`."""
        warmup = self.warmup_updates
        if self.composed:
            return lr * self._decay(update / self.total) * min(1.0, update / max(1, warmup))
        if update < warmup:
            return lr * update / warmup
        return lr * self._decay((update - warmup) / max(1, self.total - warmup))

    def _decay(self, done: float) -> float:
        left = 1 - min(1.0, done)
        if self.name == "constant":
            return 1.0
        if self.name == "linear":
            return left
        shape = left**self.power if self.name == "polynomial" else (1 - math.cos(math.pi * left)) / 2
        return self.end + (1 - self.end) * shape

    def as_json(self) -> dict[str, Any]:
        """Keyword arguments of this class."""
        return asdict(self)
