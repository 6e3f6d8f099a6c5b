"""Tokenisers of the two ecosystems behind one small class, built from local files only.

Only `tokenization.transformers` imports transformers and only `tokenization.paddlenlp` imports paddlenlp.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FLAGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")

Row = Sequence[str]  # a text, or the two of a pair
Encoding = dict[str, Any]  # lists of one length (input_ids, token_type_ids, attention_mask …) and the decoded text


@dataclass(frozen=True)
class Recipe:
    """What a tokeniser is built from: the architecture it belongs to, its words, and how text is prepared.

    `folder` holds vocab.txt; `special_tokens` are spelled by their roles (pad, unk, cls, sep, mask).
    """

    model: str
    folder: str
    special_tokens: Mapping[str, str]
    do_lower_case: bool = True
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True

    @property
    def vocabulary(self) -> Path:
        return Path(self.folder) / "vocab.txt"

    @property
    def flags(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FLAGS}

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments that the tokeniser classes of both packages take."""
        return self.flags | {f"{role}_token": token for role, token in self.special_tokens.items()}


class PackageTokenizer:
    """A tokeniser of transformers or PaddleNLP, whose interfaces are alike."""

    def __init__(self, tokenizer: Any, offsets: bool) -> None:
        self.wrapped = tokenizer
        self._offsets = offsets

    def encode(
        self, rows: Sequence[Row], truncation: str | None = None, max_length: int | None = None, details: bool = True
    ) -> list[Encoding]:
        """One encoding for each row, not padded; with `details` also the offsets and the text decoded again."""
        options: dict[str, Any] = {"return_offsets_mapping": True} if details and self._offsets else {}
        if truncation:
            options |= {"truncation": truncation, "max_length": max_length}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one warns at every pair that it cuts
            encodings = [self._encode(row, options) for row in rows]
        for encoding in encodings if details else ():
            encoding["decoded"] = str(self.wrapped.decode(encoding["input_ids"], skip_special_tokens=True))
        return encodings

    def _encode(self, row: Row, options: Mapping[str, Any]) -> Encoding:
        found = self.wrapped(
            row[0],
            row[1] if len(row) == 2 else None,
            return_token_type_ids=True,
            return_attention_mask=True,
            return_special_tokens_mask=True,
            **options,
        )
        return {name: [list(v) if isinstance(v, tuple) else v for v in values] for name, values in found.items()}

    def pad(
        self,
        encodings: Sequence[Encoding],
        side: str = "right",
        max_length: int | None = None,
        multiple: int | None = None,
    ) -> dict[str, list[list[int]]]:
        """Encodings of one length: `max_length`, or that of the longest; rounded up to a `multiple`."""
        before, self.wrapped.padding_side = self.wrapped.padding_side, side
        kept = ("input_ids", "token_type_ids", "attention_mask")
        try:
            found = self.wrapped.pad(
                [{name: list(encoding[name]) for name in kept} for encoding in encodings],
                padding="max_length" if max_length else "longest",
                max_length=max_length,
                pad_to_multiple_of=multiple,
                return_attention_mask=True,
            )
        finally:
            self.wrapped.padding_side = before
        return {name: [list(row) for row in found[name]] for name in kept}


def flags_of(checkpoint: Path) -> dict[str, Any]:
    """The flags of a checkpoint's tokenizer_config.json that change how text is prepared."""
    file = checkpoint / "tokenizer_config.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {name: found[name] for name in FLAGS if name in found}


def class_of(package: Any, model: str, suffix: str) -> Any:
    """The tokeniser class of an architecture in a package, BERT's where it has none of its own that reads a vocab.txt
    and nothing else.
    """
    wanted = model.replace("_", "").lower() + suffix.lower()
    own = getattr(package, next((name for name in _names(package) if name.lower() == wanted), ""), None)
    files = getattr(own, "vocab_files_names", None) or getattr(own, "resource_files_names", None) or {}
    reads = {key: file for key, file in files.items() if key != "tokenizer_file"}
    return own if reads == {"vocab_file": "vocab.txt"} else getattr(package, f"Bert{suffix}")


@cache
def _names(package: Any) -> list[str]:
    return dir(package)
