"""What can be wrong with a request for fake data, each as one clear line per finding."""

import difflib
from collections.abc import Iterable


class BatchError(ValueError):
    """A batch, or the request for one, does not fit the model and its task."""


class WeightError(ValueError):
    """A tensor name has no rule in the specification of its architecture."""


def unknown(what: str, name: str, known: Iterable[str]) -> BatchError:
    """The error for a `name` that is not among the `known` ones; it names the nearest of them."""
    choices = sorted(known)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.0)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "there is none at all."
    return BatchError(f"unknown {what} {name!r}: {hint} Known: {', '.join(choices)}")
