"""Which words a masked language model has to restore (Devlin et al., 2019; Clark et al., 2020)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from align.metrics.metric import IGNORED
from fake_data.stream import Stream

_SIGMAS = 5.0  # of a binomial distribution: a sound scheme is beyond them once in 1.7 million times


@dataclass(frozen=True)
class Scheme:
    """A `share` of the text is chosen, at least one token of a row. Of the chosen tokens a part `masked` becomes the
    mask token, a part `random` any ordinary word, and the rest stays.
    """

    share: float
    masked: float
    random: float


SCHEMES = {"BERT": Scheme(0.15, 0.8, 0.1), "ELECTRA": Scheme(0.15, 0.85, 0.0)}


def mask_tokens(
    ids: np.ndarray, text: np.ndarray, mask_id: int, ordinary: np.ndarray, scheme: Scheme, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs with some tokens hidden, and labels, −100 where there is nothing to restore; (B, L) both.

    Only tokens where `text` (B, L, bool) is true are chosen: no special token, no padding. `ordinary` are the ids that
    a random word is drawn from.
    """
    stream = Stream(seed, "masking", "tokens")
    rank = np.argsort(np.lexsort((stream.words(ids.size).reshape(ids.shape), ~text), axis=1), axis=1)
    chosen = text & (rank < _counts(text, scheme)[:, None])
    kind = (stream.words(ids.size) >> np.uint64(11)).reshape(ids.shape) * 2.0**-53
    words = ordinary[stream.integers(ids.size, len(ordinary))].reshape(ids.shape)
    hidden = np.where(kind < scheme.masked, mask_id, np.where(kind < scheme.masked + scheme.random, words, ids))
    return np.where(chosen, hidden, ids), np.where(chosen, ids, IGNORED)


def _counts(text: np.ndarray, scheme: Scheme) -> np.ndarray:
    """(B,) how many tokens of each row are chosen."""
    tokens = text.sum(axis=1)
    return np.where(tokens > 0, np.maximum((tokens * scheme.share + 0.5).astype(np.int64), 1), 0)


def violations(
    ids: np.ndarray,
    text: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    mask_id: int,
    ordinary: np.ndarray,
    scheme: Scheme,
) -> Iterator[str]:
    """What is wrong with inputs and labels that ought to follow a scheme, one line each."""
    chosen = labels != IGNORED
    if (chosen & ~text).any():
        yield f"{(chosen & ~text).sum()} special or padding tokens are chosen"
    if (labels[chosen] != ids[chosen]).any():
        yield "a label is not the word that stood there"
    if (inputs[~chosen] != ids[~chosen]).any():
        yield "a token has changed that is not to be restored"
    expected, found = int(_counts(text, scheme).sum()), int(chosen.sum())
    if (_counts(text, scheme) != chosen.sum(axis=1)).any():
        yield f"{found} of {text.sum()} words are chosen, by a share of {scheme.share:g} it should be {expected}"
    masked = chosen & (inputs == mask_id)
    changed = chosen & ~masked & (inputs != ids)
    if not np.isin(inputs[changed], ordinary).all():
        yield "a random word is a special token"
    # A random word may happen to be the one that stood there.
    parts = {"masked": (masked, scheme.masked), "random": (changed, scheme.random * (1 - 1 / len(ordinary)))}
    for name, (places, share) in parts.items():
        spread = np.sqrt(share * (1 - share) / max(found, 1))
        seen = places.sum() / max(found, 1)
        if not abs(seen - share) <= _SIGMAS * spread:
            yield f"{seen:.3f} of the chosen words are {name}, it should be {share:.3f}"
