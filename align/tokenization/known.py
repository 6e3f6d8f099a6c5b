"""Where one package's tokeniser is known to differ from the other's, and how that is proved, text by text.

A deviation counts as known only if the deviant gives, to the last id, what the reference gives in another situation
that the deviation stands for: the same text with blanks around its symbols, say. Anything else is a finding.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from align.tokenization import Encoding, Row

KNOWN: Mapping[str, str] = {
    "symbols": (
        "PaddleNLP makes a word of every symbol (Unicode category S, and º ² µ 〇 Ø ŋ Ʊ), where BERT's tokeniser parts "
        "words at blanks, punctuation and Chinese characters only"
    ),
    "flags": (
        "PaddleNLP's tokeniser of this architecture drops strip_accents and tokenize_chinese_chars and always has the "
        "defaults"
    ),
    "special": (
        "PaddleNLP's tokeniser of this architecture takes special tokens in a text apart like all else, and "
        "RoFormer's lower-cases whole words, after which a sigma may be a final one"
    ),
    "offsets": (
        "PaddleNLP guesses from its neighbours where a word stands that it has no pieces for, and may lose its place"
    ),
    "no offsets": (
        "PaddleNLP's tokeniser of this architecture has not kept do_lower_case and fails to place the tokens of a text "
        "with capitals: offsets are not compared"
    ),
    "halves": (
        "transformers' fast tokeniser cuts two long texts to halves and leaves the odd token to the second, where the "
        "slow one takes token after token from the longer text and leaves it to the first"
    ),
    "composed": (
        "transformers' slow tokeniser composes letters and accents that stand apart in the text (NFC), which no other "
        "tokeniser does"
    ),
    "empty second": "transformers' fast tokeniser takes an empty second text for none",
}

TAKING_APART = frozenset({"gau_alpha", "roformer", "roformer_v2"})
LOSING_FLAGS = TAKING_APART | {"funnel"}
WITHOUT_OFFSETS = frozenset({"roformer"})
_SYMBOLS = frozenset("\u00ad\u00b2\u00ba\u3007\u00b5\u00d8\u014b\u01b1")


def with_symbols_apart(row: Row, lower: bool) -> Row:
    """The row with blanks around what PaddleNLP takes for a symbol, which it sees after lower-casing."""
    return ["".join(f" {c} " if _is_symbol(c.lower() if lower else c) else c for c in text) for text in row]


def _is_symbol(text: str) -> bool:
    return any(unicodedata.category(c).startswith("S") or c in _SYMBOLS for c in text)


def with_special_as_text(row: Row, special: Iterable[str], lower: bool) -> Row:
    """The row with a blank inside the brackets of special tokens, and lower-cased as a whole."""
    for token in special:
        row = [text.replace(token, f"{token[0]} {token[1:-1]} {token[-1]}") for text in row]
    return [text.lower() if lower else text for text in row]


def composed(row: Row) -> Row:
    return [unicodedata.normalize("NFC", text) for text in row]


def without_empty_second(row: Row) -> Row:
    return row[:1] if len(row) == 2 and not row[1] else row


def halved(whole: Encoding, max_length: int) -> Encoding | None:
    """A pair cut by the fast tokeniser's rule, from its encoding by the slow one; None for a single text."""
    special = [i for i, mark in enumerate(whole["special_tokens_mask"]) if mark]
    if len(special) != 3:
        return None
    middle = special[1]
    first, second = middle - 1, len(whole["input_ids"]) - middle - 2
    short, room = min(first, second), max_length - 3
    kept = min(short, room // 2)
    lengths = (kept, room - kept) if first <= second else (room - kept, kept)
    if first + second <= room:
        lengths = first, second
    places = [0, *range(1, 1 + lengths[0]), middle, *range(middle + 1, middle + 1 + lengths[1]), special[2]]
    return {name: [values[i] for i in places] for name, values in whole.items() if isinstance(values, list)}


def lost_offsets(ids: Sequence[int], expected: Sequence[list[int]], actual: Sequence[list[int]], unknown: int) -> bool:
    """Whether offsets differ only behind an unknown word of the same text, or at it."""
    if len(expected) != len(actual):
        return False
    seen = False
    for i, (place, other) in enumerate(zip(expected, actual, strict=True)):
        seen = seen or ids[i] == unknown
        if place != other and not seen and unknown not in ids[i + 1 : i + 2]:
            return False
    return True
