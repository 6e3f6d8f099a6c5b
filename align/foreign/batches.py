"""A batch for two models that nobody has a specification of: from the words of their forward and their configuration.

Rows are padded at the right, to different lengths but never whole; ids are spread over the vocabulary. Labels come
last: what the model returns without them says which shape they have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.errors import CannotCompareError
from align.foreign.options import Kind, find_size
from fake_data.stream import Stream

BATCH, LENGTH, OTHER_LENGTH = 3, 16, 11
_SAMPLES, _FRAMES = 400, 40  # of sound
_VOCABULARY, _CHANNELS, _IMAGE, _MELS, _TYPES = 50, 3, 24, 20, 2

Config = Mapping[str, Any]


@dataclass(frozen=True)
class _Sizes:
    """What a field is made from; every size that the configuration does not say has a usual value."""

    config: Config
    seed: int

    def of(self, kind: Kind, default: int) -> int:
        found = find_size(self.config, kind)
        return default if found is None else found


def _ids(sizes: _Sizes, name: str, length: int) -> np.ndarray:
    """Ids from 3 on: the first few are special in most vocabularies; the last one occurs, the end of each row too."""
    count = sizes.of(Kind.VOCABULARY, _VOCABULARY)
    ids = 3 + Stream(sizes.seed, "foreign batch", name).integers(BATCH * length, count - 4)
    ids = ids.reshape(BATCH, length).astype(np.int64)
    for row, filled in enumerate(_lengths(length)):
        ids[row, filled - 1] = count - 1
        ids[row, filled:] = _pad(sizes.config, count)
    return ids


def _pad(config: Config, count: int) -> int:
    pad = config.get("pad_token_id")
    return pad if isinstance(pad, int) and 0 <= pad < count else 0


def _lengths(length: int) -> np.ndarray:
    return np.array([length, length - 3, (length + 1) // 2][:BATCH])


def _mask(length: int) -> np.ndarray:
    return (np.arange(length) < _lengths(length)[:, None]).astype(np.int64)


def _types(sizes: _Sizes) -> np.ndarray:
    count = max(sizes.of(Kind.TYPES, _TYPES), 1)
    drawn = Stream(sizes.seed, "foreign batch", "token_type_ids").integers(BATCH * LENGTH, count)
    return drawn.reshape(BATCH, LENGTH).astype(np.int64)


def _image(sizes: _Sizes) -> np.ndarray:
    side = sizes.of(Kind.IMAGE, _IMAGE)
    return _normals(sizes, "pixel_values", (BATCH, sizes.of(Kind.CHANNELS, _CHANNELS), side, side))


def _normals(sizes: _Sizes, name: str, shape: tuple[int, ...]) -> np.ndarray:
    return Stream(sizes.seed, "foreign batch", name).normals(shape)


# A field of the batch by the word that forwards have for it.
_FIELDS: Mapping[str, Callable[[_Sizes], np.ndarray]] = {
    "input_ids": lambda sizes: _ids(sizes, "input_ids", LENGTH),
    "attention_mask": lambda sizes: _mask(LENGTH),
    "token_type_ids": _types,
    "decoder_input_ids": lambda sizes: _ids(sizes, "decoder_input_ids", OTHER_LENGTH),
    "decoder_attention_mask": lambda sizes: _mask(OTHER_LENGTH),
    "pixel_values": _image,
    "input_values": lambda sizes: _normals(sizes, "input_values", (BATCH, _SAMPLES)),
    "input_features": lambda sizes: _normals(sizes, "input_features", (BATCH, sizes.of(Kind.MELS, _MELS), _FRAMES)),
}
# Fields whose absence is the rule, however many forwards know them.
_ABSENT_IF_ZERO = {"token_type_ids": Kind.TYPES}


def make_batch(
    torch: Sequence[Mapping[str, Any]], paddle: Sequence[Mapping[str, Any]], config: Config, seed: int = 0
) -> dict[str, np.ndarray]:
    """The fields that both forwards know; `torch` and `paddle` are their words, each with `required`.

    Raises:
        CannotCompareError: a forward requires what nothing is known of, or both have no known word in common.
    """
    sizes = _Sizes(config, seed)
    both = {word["name"] for word in torch} & {word["name"] for word in paddle}
    names = [name for name in _FIELDS if name in both]
    names = [n for n in names if n not in _ABSENT_IF_ZERO or find_size(config, _ABSENT_IF_ZERO[n]) != 0]
    for side, words in (("torch", torch), ("paddle", paddle)):
        unknown = [word["name"] for word in words if word["required"] and word["name"] not in names]
        if unknown:
            raise CannotCompareError(
                f"the {side} model's forward requires {', '.join(unknown)}: nothing is known of "
                f"{'them' if len(unknown) > 1 else 'it'}, give a batch with --batch FILE.npz"
            )
    if not names:
        raise CannotCompareError("the two forwards have no known field in common: give a batch with --batch FILE.npz")
    return {name: _FIELDS[name](sizes) for name in names}


def make_labels(outputs: Mapping[str, np.ndarray], seed: int = 0) -> np.ndarray | None:
    """Labels for logits: a class for each position or for each row; None where neither fits. None is ignored.

    `outputs` are the model's by their path; logits are those of that name, or the first.
    """
    logits = next((v for name, v in outputs.items() if name.endswith("logits")), None)
    if logits is None:
        logits = next((v for v in outputs.values() if v.dtype.kind == "f"), None)
    if logits is None or logits.ndim not in (2, 3) or logits.shape[-1] < 2:
        return None
    shape = logits.shape[:-1]
    drawn = Stream(seed, "foreign batch", "labels").integers(int(np.prod(shape)), logits.shape[-1])
    return drawn.reshape(shape).astype(np.int64)
