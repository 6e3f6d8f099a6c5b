"""What is tried besides the first batch and weights: what a correct pair does alike, and a port often does not.

None leaves a row without a position to attend to: what a softmax makes of nothing is a matter of convention.
"""

from collections.abc import Mapping

import numpy as np

from align.mapping.names import tokens
from fake_data.stream import Stream

IGNORED = -100  # the label that torch's cross-entropy leaves out
_SHARPER = 16.0
_MASK, _LABELS = "attention_mask", "labels"


def saturated(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The weights with the queries' projections, by their names, so large that attention is one-hot; None without.

    One that is packed with others makes these as large.
    """
    chosen = {n for n, v in weights.items() if v.dtype.kind == "f" and {"query", "wq"} & set(tokens(n))}
    return {n: v * v.dtype.type(_SHARPER) if n in chosen else v for n, v in weights.items()} if chosen else None


def with_holes(batch: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray] | None:
    """The batch with every third position or so masked, other ones in each row; the ids stay as they are.

    A model that counts tokens, or takes a mask for a length, differs here only; and one that takes an id of padding
    for padding, since some are attended to. The first position is too, so that a causal model has something to attend
    to everywhere. None without a mask.
    """
    if _MASK not in batch:
        return None
    mask = Stream(seed, "foreign probes", "holes").integers(batch[_MASK].size, 3).reshape(batch[_MASK].shape) > 0
    mask[:, 0] = True
    return {**batch, _MASK: mask.astype(batch[_MASK].dtype)}


def with_ignored(batch: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray] | None:
    """The batch with every third label or so ignored, one at least and never all; None without labels that are ids."""
    labels = batch.get(_LABELS)
    if labels is None or labels.dtype.kind != "i" or labels.size < 2:
        return None
    out = Stream(seed, "foreign probes", "ignored").integers(labels.size, 3) == 0
    out[:2] = True, False
    return {**batch, _LABELS: np.where(out.reshape(labels.shape), labels.dtype.type(IGNORED), labels)}
