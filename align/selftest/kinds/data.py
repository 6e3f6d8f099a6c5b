"""Bugs on the way from text to batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from align.batching import Pipeline, collate, cut, order
from align.batching.masking import mask_tokens
from align.selftest.mutation import Mutation
from align.selftest.site import Site
from align.session import Session
from align.tokenization import Encoding, PackageTokenizer, Recipe, Row
from align.tokenization.known import WITHOUT_OFFSETS

Change = Callable[[Pipeline], Pipeline]
Alter = Callable[[Encoding], None]


def mutations(site: Site) -> list[Mutation]:
    """Every bug of tokenisation, truncation, padding, order, dtype and masking; hardly one depends on the model."""
    return [*_tokens(site), *_rows(), *_batches(), *_masks()]


def _mutation(kind: str, name: str, blamed: str, change: Change) -> Mutation:
    def apply(session: Session) -> None:
        pipeline = session.data
        session.data = lambda: change(pipeline())  # type: ignore[method-assign]

    return Mutation(kind, name, "data", blamed, apply)


def _tokens(site: Site) -> Iterator[Mutation]:
    """Texts in, other tokens out."""
    for name, flags in (
        ("case kept", {"do_lower_case": False}),
        ("accents kept", {"strip_accents": False}),
        ("Chinese words kept together", {"tokenize_chinese_chars": False}),
    ):
        yield _mutation("TK01", name, "input_ids", _with_flags(flags))
    for kind, name, part, alter in (
        ("TK02", "ids shifted by one", "input_ids", _shift_ids),
        ("TK02", "no first token", "input_ids", _lose_first),
        ("TK02", "two last tokens", "input_ids", _repeat_last),
        ("TK03", "token types all 0", "token_type_ids", _forget_types),
        ("TK03", "no token types", "token_type_ids", lambda encoding: encoding.pop("token_type_ids")),
        ("TK03", "the separator has the second type", "token_type_ids", _late_separator),
    ):
        yield _mutation(kind, name, part, _with_encodings(alter))
    if site.model not in WITHOUT_OFFSETS:
        yield _mutation("ME05", "offsets shifted by one", "offset_mapping", _with_encodings(_shift_offsets))


def _rows() -> Iterator[Mutation]:
    """The right tokens, cut or padded wrongly."""
    yield _mutation("DA04", "only the second text is cut", "truncation", _with_tokenizers(_OnlySecond))
    yield _mutation("DA04", "one token too few", "truncation", _with_tokenizers(_TooShort))
    yield _mutation("DA04", "padded on the other side", "padding", _with_tokenizers(_OtherSide))
    yield _mutation("DA04", "padding attended", "padding", _with_tokenizers(_AttendedPadding))


def _batches() -> Iterator[Mutation]:
    """The right rows, batched wrongly."""
    for kind, name, blamed, parts in (
        ("DA01", "a shuffle of its own", "order", {"order": _own_shuffle}),
        ("DA01", "the same order in every epoch", "order", {"order": lambda n, epoch, seed: order(n, 0, seed)}),
        ("DA01", "not shuffled", "order", {"order": lambda n, epoch, seed: np.arange(n)}),
        ("DA05", "floats stay float64", "dtype", {"collate": _changed_dtype("f", np.float64)}),
        ("DA05", "ids are int32", "dtype", {"collate": _changed_dtype("i", np.int32)}),
        ("DA04", "batches padded at the left", "padding", {"collate": lambda rows, pad: collate(rows, pad, "left")}),
        ("DA04", "labels padded with 0", "padding", {"collate": _zero_labels}),
    ):
        yield _mutation(kind, name, blamed, _with_parts(parts))
    yield _mutation("ME02", "the last batch dropped", "order", _drop_last)


def _masks() -> Iterator[Mutation]:
    """The right batches, masked wrongly."""
    for name, changes in (
        ("twice as many words", {"share": 0.3}),
        ("every chosen word masked", {"masked": 1.0, "random": 0.0}),
        ("none replaced at random", {"random": 0.0}),
        ("as many masked as kept", {"masked": 0.5}),
    ):
        yield _mutation("DA02", name, "masking", _with_scheme(changes))
    yield _mutation("DA02", "padding and special tokens masked", "masking", _with_parts({"mask": _mask_everything}))
    yield _mutation("DA02", "labels everywhere", "masking", _with_parts({"mask": _label_everything}))


def _with_parts(parts: Mapping[str, Any]) -> Change:
    return lambda pipeline: replace(pipeline, **parts)


def _with_flags(flags: Mapping[str, Any]) -> Change:
    def change(pipeline: Pipeline) -> Pipeline:
        def tokenizers(recipe: Recipe) -> Mapping[str, Any]:
            built = pipeline.tokenizers(replace(recipe, **flags))
            for tokenizer in built.values():
                basic = getattr(tokenizer.wrapped, "basic_tokenizer", None)
                for name, value in flags.items():  # PaddleNLP's Funnel drops some of them
                    if basic is not None:
                        setattr(basic, name, value)
            return built

        return replace(pipeline, tokenizers=tokenizers)

    return change


def _with_tokenizers(kind: Callable[[Any], Any]) -> Change:
    return lambda pipeline: replace(
        pipeline, tokenizers=lambda recipe: {name: kind(t) for name, t in pipeline.tokenizers(recipe).items()}
    )


class _Wrapped:
    """A tokeniser with something of it done otherwise."""

    def __init__(self, tokenizer: PackageTokenizer) -> None:
        self.right = tokenizer

    def encode(self, rows: Sequence[Row], **options: Any) -> list[Encoding]:
        return self.right.encode(rows, **options)

    def pad(self, encodings: Sequence[Encoding], **options: Any) -> dict[str, list[list[int]]]:
        return self.right.pad(encodings, **options)


def _with_encodings(alter: Callable[[Encoding], Any]) -> Change:
    class Altered(_Wrapped):
        def encode(self, rows: Sequence[Row], **options: Any) -> list[Encoding]:
            encodings = self.right.encode(rows, **options)
            for encoding in encodings:
                alter(encoding)
            return encodings

        def pad(self, encodings: Sequence[Encoding], **options: Any) -> dict[str, list[list[int]]]:
            whole = [{"token_type_ids": [0] * len(encoding["input_ids"]), **encoding} for encoding in encodings]
            return self.right.pad(whole, **options)

    return _with_tokenizers(Altered)


class _OnlySecond(_Wrapped):
    def encode(self, rows: Sequence[Row], **options: Any) -> list[Encoding]:
        encodings = self.right.encode(rows, **options)
        if options["truncation"] != "longest_first":
            return encodings
        whole = self.right.encode(rows, details=options["details"])
        return [_without_end(w, options["max_length"]) or e for w, e in zip(whole, encodings, strict=True)]


def _without_end(whole: Encoding, length: int) -> Encoding | None:
    """A pair cut at the end of its second text only; None for a single text, or where that is too short."""
    special = [i for i, mark in enumerate(whole["special_tokens_mask"]) if mark]
    if len(special) < 3 or length <= special[1] + 1:
        return None
    last = special[-1]
    places = [*range(min(length, last + 1) - 1), last]
    return {name: [values[i] for i in places] for name, values in _lists(whole).items()}


class _TooShort(_Wrapped):
    def encode(self, rows: Sequence[Row], **options: Any) -> list[Encoding]:
        if options["truncation"] == "longest_first":
            options["max_length"] -= 1
        return self.right.encode(rows, **options)


class _OtherSide(_Wrapped):
    def pad(self, encodings: Sequence[Encoding], **options: Any) -> dict[str, list[list[int]]]:
        other = {"left": "right", "right": "left"}[options.get("side", "right")]
        return self.right.pad(encodings, **options | {"side": other})


class _AttendedPadding(_Wrapped):
    def pad(self, encodings: Sequence[Encoding], **options: Any) -> dict[str, list[list[int]]]:
        padded = self.right.pad(encodings, **options)
        return padded | {"attention_mask": [[1] * len(row) for row in padded["attention_mask"]]}


def _shift_ids(encoding: Encoding) -> None:
    encoding["input_ids"] = [i + 1 for i in encoding["input_ids"]]


def _lists(encoding: Encoding) -> dict[str, list[Any]]:
    """What an encoding has for each token."""
    return {name: values for name, values in encoding.items() if isinstance(values, list)}


def _lose_first(encoding: Encoding) -> None:
    for values in _lists(encoding).values():
        del values[0]


def _repeat_last(encoding: Encoding) -> None:
    for values in _lists(encoding).values():
        values.append(values[-1])


def _forget_types(encoding: Encoding) -> None:
    encoding["token_type_ids"] = [0] * len(encoding["token_type_ids"])


def _late_separator(encoding: Encoding) -> None:
    """The separator behind the first of two texts counts as part of the second."""
    types = encoding["token_type_ids"]
    if 1 in types:
        types[types.index(1) - 1] = 1


def _shift_offsets(encoding: Encoding) -> None:
    if "offset_mapping" in encoding:
        marks = zip(encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True)
        encoding["offset_mapping"] = [place if special else [place[0] + 1, place[1] + 1] for place, special in marks]


def _own_shuffle(count: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed + epoch).permutation(count)


def _changed_dtype(kind: str, dtype: type) -> Callable[..., dict[str, np.ndarray]]:
    def collated(rows: Sequence[Any], pad: int) -> dict[str, np.ndarray]:
        return {name: a.astype(dtype) if a.dtype.kind == kind else a for name, a in collate(rows, pad).items()}

    return collated


def _zero_labels(rows: Sequence[Any], pad: int) -> dict[str, np.ndarray]:
    batch = collate(rows, pad)
    return batch | {"labels": np.where(batch["attention_mask"] == 0, 0, batch["labels"])}


def _drop_last(pipeline: Pipeline) -> Pipeline:
    class Dropping(Pipeline):
        def epoch(self, examples: Sequence[Any], size: int, epoch: int, seed: int, pad_id: int) -> Iterator[Any]:
            batches = cut(self.order(len(examples), epoch, seed), size, drop_last=True)
            yield from self.load(examples, batches, lambda rows: self.collate(rows, pad_id))

    return Dropping(**vars(pipeline))


def _with_scheme(changes: Mapping[str, float]) -> Change:
    def mask(ids: Any, text: Any, mask_id: int, ordinary: Any, scheme: Any, seed: int) -> Any:
        return mask_tokens(ids, text, mask_id, ordinary, replace(scheme, **changes), seed)

    return _with_parts({"mask": mask})


def _mask_everything(ids: Any, text: Any, mask_id: int, ordinary: Any, scheme: Any, seed: int) -> Any:
    return mask_tokens(ids, np.ones_like(text), mask_id, ordinary, scheme, seed)


def _label_everything(ids: Any, text: Any, mask_id: int, ordinary: Any, scheme: Any, seed: int) -> Any:
    inputs, _ = mask_tokens(ids, text, mask_id, ordinary, scheme, seed)
    return inputs, np.where(text, ids, -100)
