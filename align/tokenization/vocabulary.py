"""A small WordPiece vocabulary of some texts, always the same, for where no checkpoint brings one."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

_WORD = re.compile(r"\w+|[^\w\s]")
_LEFT_OUT = 23  # one character in so many is no piece, so that there are unknown words


def make_vocabulary(texts: Iterable[str], special_tokens: Mapping[str, str]) -> list[str]:
    """Special tokens, characters, some words whole and some in two pieces; cased and not, with accents and without."""
    words = Counter(word for text in texts for form in _forms(text) for word in _WORD.findall(form))
    known = {piece for word, count in words.items() for piece in _pieces(word, count)}
    return [*special_tokens.values(), *sorted(piece for piece in known if piece not in special_tokens.values())]


def _forms(text: str) -> set[str]:
    decomposed = unicodedata.normalize("NFD", text)
    bare = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return {form for one in (text, decomposed, bare) for form in (one, one.lower())}


def _pieces(word: str, count: int) -> Iterator[str]:
    for character in word:
        if ord(character) % _LEFT_OUT and unicodedata.category(character)[0] not in "CZ":
            yield character
            if character.isalnum():
                yield f"##{character}"
    if 3 <= len(word) <= 20 and word.isalnum():
        if count > 1 or len(word) % 3 == 0:
            yield word
        else:
            yield word[: len(word) // 2]
            yield f"##{word[len(word) // 2 :]}"
