"""A batch from a text file, with the vocabulary that lies beside a checkpoint."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from fake_data.batch import BATCH_SIZE, check_sizes, fill
from fake_data.check import check_batch
from fake_data.errors import BatchError
from fake_data.fields import Sizes, Task
from fake_data.rows import Parts, SpecialIds, assemble
from fake_data.spec import Config, Spec, find_spec

LENGTH = 61  # where the architecture has as many positions

PathLike = str | os.PathLike[str]


def tokenize_file(
    path: PathLike,
    checkpoint_dir: PathLike,
    model: str,
    task: str,
    config: Config,
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    length: int | None = None,
) -> dict[str, np.ndarray]:
    """The first `batch_size` examples of a UTF-8 file, cut and padded to `length`, as `make_batch` would give them.

    A line is an example, a TAB separates the two of a pair; for multiple choice a question is followed by its choices,
    as many on every line. Blank lines do not count. Masks, labels and answers follow the rules of the fake data.
    The tokeniser is `tokenizer.json`, or else `vocab.txt` with the flags of `tokenizer_config.json`.
    Raises BatchError for a file or vocabulary that is not there, is empty or cannot be read, and for what
    `check_batch` refuses (an id beyond the model's vocabulary, too long a text for its positions).
    """
    spec = find_spec(model)
    kind = spec.task(task, config)
    examples = _examples(Path(path), "choices" in kind.axes)
    sizes = _sizes(spec, kind, config, {"batch": min(batch_size, len(examples)), "choices": len(examples[0])}, length)
    tokenizer = _tokenizer(Path(checkpoint_dir), spec)
    special = _special_ids(tokenizer, spec, checkpoint_dir)
    parts = [_encode(tokenizer, row, sizes["length"]) for example in examples[: sizes["batch"]] for row in example]
    rows = assemble(parts, sizes["length"], sizes["vocab_size"], special, spec.cls_type, seed)
    batch = fill(kind, sizes, rows, special, seed)
    check_batch(batch, model, task, config)
    return batch


def encode_rows(
    rows: Sequence[Sequence[str]], checkpoint_dir: PathLike, model: str, length: int
) -> dict[str, np.ndarray]:
    """Texts and pairs of texts as a model takes them: the three inputs of its forward, (N, length) each.

    They are cut and padded as `tokenize_file` does. Raises BatchError for a vocabulary that cannot be read or lacks a
    special token of the architecture.
    """
    spec = find_spec(model)
    tokenizer = _tokenizer(Path(checkpoint_dir), spec)
    special = _special_ids(tokenizer, spec, checkpoint_dir)
    parts = [_encode(tokenizer, row, length) for row in rows]
    found = assemble(parts, length, tokenizer.get_vocab_size(), special, spec.cls_type, seed=0)
    return {"input_ids": found.ids, "attention_mask": found.attended, "token_type_ids": found.types}


Example = list[list[str]]  # its rows, one or one per choice, each a text or a pair


def _sizes(spec: Spec, task: Task, config: Config, known: Mapping[str, int], length: int | None) -> Sizes:
    sizes = spec.sizes(task, config, {**known, "length": LENGTH if length is None else length})
    if length is None and spec.length_limit:
        sizes = {**sizes, "length": min(LENGTH, sizes[spec.length_limit])}
    check_sizes(spec, sizes)
    return sizes


def _examples(path: Path, choices: bool) -> list[Example]:
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(_read(path).split("\n"), 1) if line.strip()]
    if not lines:
        raise BatchError(f"{path}: no text in it; write one example per line")
    columns = {number: line.split("\t") for number, line in lines}
    expected = len(next(iter(columns.values()))) if choices else 2
    for number, texts in columns.items():
        if (choices and (len(texts) != expected or expected < 3)) or len(texts) > expected:
            wanted = "a question and the same number of choices, two or more," if choices else "a text or a pair"
            raise BatchError(f"{path}: line {number} has {len(texts)} columns; expected {wanted} separated by TABs")
    if choices:
        return [[[question, choice] for choice in rest] for question, *rest in columns.values()]
    return [[texts] for texts in columns.values()]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BatchError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise BatchError(f"{path}: {error.strerror}") from None


def _tokenizer(directory: Path, spec: Spec) -> Tokenizer:
    whole, words = directory / "tokenizer.json", directory / "vocab.txt"
    if whole.is_file():
        return _saved_tokenizer(whole)
    if not words.is_file():
        raise BatchError(f"{directory}: neither tokenizer.json nor vocab.txt; copy one from the checkpoint's source")
    lines = _read(words).removesuffix("\n").split("\n")
    vocabulary = {word.removesuffix("\r"): index for index, word in enumerate(lines)}
    return _wordpiece(vocabulary, _flags(directory / "tokenizer_config.json"), spec)


def _saved_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise BatchError(f"{path}: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _flags(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        flags = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise BatchError(f"{path}: not JSON ({error})") from None
    if not isinstance(flags, dict):
        raise BatchError(f"{path}: expected an object of options")
    return flags


def _wordpiece(vocabulary: dict[str, int], flags: Mapping[str, Any], spec: Spec) -> Tokenizer:
    """BERT's tokeniser: clean, split at spaces, punctuation and Chinese characters, then longest matches first."""
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=spec.special_tokens["unk"], max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(
        lowercase=flags.get("do_lower_case", True),
        strip_accents=flags.get("strip_accents"),
        handle_chinese_chars=flags.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens([token for token in spec.special_tokens.values() if token in vocabulary])
    return tokenizer


def _special_ids(tokenizer: Tokenizer, spec: Spec, directory: PathLike) -> SpecialIds:
    ids = {role: tokenizer.token_to_id(token) for role, token in spec.special_tokens.items()}
    missing = [spec.special_tokens[role] for role, index in ids.items() if index is None]
    if missing:
        raise BatchError(f"{directory}: the vocabulary lacks {' '.join(missing)}; is it this architecture's?")
    return SpecialIds(**{role: index for role, index in ids.items() if role != "unk"})


def _encode(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Parts:
    """Ids of each text, shortened at the end of the longer one (the second, if equal) until the row fits."""
    parts = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    room = max(length - 1 - len(parts), 0)
    while sum(map(len, parts)) > room:
        max(reversed(parts), key=len).pop()
    return parts
