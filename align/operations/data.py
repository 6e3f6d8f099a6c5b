"""From text to batches, on one side."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from align.batching.masking import SCHEMES
from align.record import Record, RecordWriter
from align.session import Session
from align.tokenization import Recipe


def encode(session: Session, requests: str, out: str) -> dict[str, str]:
    """Answer the tokenisation requests in a JSON file, by every tokeniser of this side's package, in the file `out`.

    A request has "recipe", "rows", the options of `PackageTokenizer.encode`, and "paddings", a list of options of its
    `pad`. Its answer has, by tokeniser, "encodings" and the "padded" ones. If the package is not installed, its name is
    returned as "missing" and nothing is written.
    """
    build, built = session.data().tokenizers, dict[str, Mapping[str, Any]]()
    answers = []
    try:
        for request in json.loads(Path(requests).read_text(encoding="utf-8")):
            recipe = Recipe(**request["recipe"])
            if recipe.folder not in built:
                built[recipe.folder] = build(recipe)
            answers.append({name: _answer(tokenizer, request) for name, tokenizer in built[recipe.folder].items()})
    except ImportError as error:
        return {"missing": error.name or str(error).strip().splitlines()[0]}
    Path(out).write_text(json.dumps(answers), encoding="utf-8")
    return {}


def _answer(tokenizer: Any, request: dict[str, Any]) -> dict[str, Any]:
    options = {name: request[name] for name in ("truncation", "max_length", "details")}
    encodings = tokenizer.encode(request["rows"], **options)
    return {
        "encodings": encodings,
        "padded": [tokenizer.pad(encodings, **padding) for padding in request["paddings"]],
    }


def batches(
    session: Session, examples: str, size: int, epochs: int, seed: int, pad_id: int, out: str
) -> dict[str, Any]:
    """Load the examples in a JSON file in this side's order and batches, and write every array to the record `out`.

    An array is named "EPOCH.BATCH.FIELD". Returned is what the framework does by itself: the order of its own shuffle
    and the dtype of its own collate function.
    """
    side = session.data()
    given = json.loads(Path(examples).read_text(encoding="utf-8"))
    with RecordWriter(out) as writer:
        for epoch in range(epochs):
            for number, batch in enumerate(side.epoch(given, size, epoch, seed, pad_id)):
                for name, tensor in batch.items():
                    writer.add(f"{epoch}.{number}.{name}", session.backend.to_numpy(tensor))
    return {"order": side.native_order(len(given), seed), "dtype": side.native_dtype()}


def mask(session: Session, tokens: str, mask_id: int, seed: int, out: str) -> None:
    """Mask the tokens in a record by every scheme; "SCHEME.inputs" and "SCHEME.labels" go to the record `out`."""
    given = Record(tokens)
    with RecordWriter(out) as writer:
        for name, scheme in SCHEMES.items():
            found = session.data().mask(given["ids"], given["text"], mask_id, given["ordinary"], scheme, seed)
            for part, array in zip(("inputs", "labels"), found, strict=True):
                writer.add(f"{name}.{part}", array)
