"""How alike two names are: words that mean the same, abbreviations, and numbers that count layers."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache

# Words for the same thing, as people name the parts of networks; the first stands for all.
_SAME = (
    ("linear", "dense", "fc", "proj", "projection", "lin", "project"),
    ("norm", "layernorm", "ln", "batchnorm", "bn", "rmsnorm"),
    ("attention", "attn", "att", "attend"),
    ("embedding", "embeddings", "embed", "embeds", "emb", "embedder"),
    ("token", "word", "words", "tok", "tokens"),
    ("position", "pos", "positional", "positions"),
    ("type", "segment", "seg", "types"),
    ("ffn", "ff", "mlp", "feedforward", "intermediate"),
    ("weight", "gamma", "kernel", "w"),
    ("bias", "beta", "b"),
    ("layer", "layers", "block", "blocks", "h", "stage", "stages"),
    ("mean", "running_mean"),
    ("variance", "var", "running_var"),
    ("query", "q"),
    ("key", "k"),
    ("value", "v"),
    ("output", "out", "o"),
    ("cross", "encdec", "crossattention"),
    ("conv", "convolution"),
    ("head", "decoder", "lm", "classifier", "cls", "predictions"),
)
_CANONICAL = {word: words[0] for words in _SAME for word in words}
_ABBREVIATED = {"wte": ("token", "embedding"), "wpe": ("position", "embedding"), "qkv": ("query", "key", "value")}
_FILLER = frozenset({"model", "module", "net", "the", "of", "attributes"})
_NUMBERED = re.compile(r"([a-zA-Z]+)(\d+)$")


@cache
def tokens(name: str) -> tuple[str, ...]:
    """The words of a dotted name: `encoder.layer.0.q_proj.weight` is layer, query, linear, weight after encoder."""
    found: list[str] = []
    for part in re.split(r"[._]", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)):
        numbered = _NUMBERED.match(part)
        for word in (numbered[1], numbered[2]) if numbered else (part,):
            lower = word.lower()
            if lower and lower not in _FILLER:
                found += _ABBREVIATED.get(lower, (_CANONICAL.get(lower, lower),))
    return tuple(_without_pairs(found))


def _without_pairs(words: Sequence[str]) -> list[str]:
    """ "layer norm" is a norm and "q linear" a query."""
    kept: list[str] = []
    for word in words:
        if word == "norm" and kept and kept[-1] == "layer":
            kept.pop()
        kept.append(word)
    return kept


def words(name: str) -> tuple[str, ...]:
    return tuple(token for token in tokens(name) if not token.isdecimal())


def numbers(name: str) -> tuple[int, ...]:
    """The numbers in a name, that of the layer first."""
    return tuple(int(token) for token in tokens(name) if token.isdecimal())


@cache
def alike(one: str, other: str) -> float:
    """Between 0 and 1: how much of two names means the same. The last words count most: they say what a tensor is."""
    a, b = words(one), words(other)
    if not a or not b:
        return float(a == b)
    return (_covered(a, b) + _covered(b, a)) / 2


def _covered(a: Sequence[str], b: Sequence[str]) -> float:
    """How much of `a` is found in `b`; a word counts the more the nearer it is to the end."""
    weights = [1 / (1 + 0.35 * (len(a) - 1 - i)) for i in range(len(a))]
    found = [max(_same(word, other) for other in b) for word in a]
    return sum(w * f for w, f in zip(weights, found, strict=True)) / sum(weights)


@cache
def _same(one: str, other: str) -> float:
    if one == other:
        return 1.0
    short, long = sorted((one, other), key=len)
    if long.startswith(short):
        return 0.8
    ratio = SequenceMatcher(None, one, other).ratio()
    return ratio * 0.6 if ratio > 0.6 else 0.0
