"""An evaluation set whose scores say something: batches of unequal size, labels that are right here and wrong there.

Random labels would make every score chance, every entity and every answer wrong: a metric computed in another way
would often give the same. So the labels follow what torch has predicted: in the last and smallest batch all are right,
in the others half. An average of averages, or a batch that is left out, then gives another score.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from align.case import Case, make_batch
from align.metrics.metric import IGNORED, first_largest
from align.metrics.spans import n_best
from fake_data.batch import BATCH_SIZE
from fake_data.stream import Stream

Arrays = Mapping[str, np.ndarray]
SHARE_RIGHT = 0.5


def make_parts(case: Case, config: Mapping[str, Any], batch: Arrays) -> list[dict[str, np.ndarray]]:
    """Two batches of the same size and a smaller one: fake ones, or the user's own batch or text cut in three."""
    if case.batch is None and case.text is None:
        size = max(case.batch_size or BATCH_SIZE, 2)
        sizes = (size, size, size // 2)
        cases = [replace(case, seed=case.seed + number, batch_size=rows) for number, rows in enumerate(sizes)]
        return [make_batch(part, config) for part in cases]
    rows = len(next(iter(batch.values())))
    size = -(-2 * rows // 5)
    cuts = [range(rows)[start : start + size] for start in (0, size, 2 * size)]
    return [{name: array[cut.start : cut.stop] for name, array in batch.items()} for cut in cuts if cut]


def label(
    task: str, parts: Sequence[Arrays], outputs: Sequence[Arrays], seed: int, own: bool
) -> list[dict[str, np.ndarray]]:
    """The batches with labels that suit these outputs and whatever else a metric of the task asks for.

    With `own` the labels are the user's and stay.
    """
    labelled = []
    for number, (batch, returned) in enumerate(zip(parts, outputs, strict=True)):
        share = 1.0 if number == len(parts) - 1 else SHARE_RIGHT
        stream = Stream(seed, "metric", f"labels {number}")
        part = dict(batch)
        if task == "question_answering":
            part |= _questions(batch, returned, share, stream, own)
        elif not own:
            part["labels"] = _LABELS.get(task, _classes)(batch, returned, share, stream)
            if "next_sentence_label" in batch:
                part["next_sentence_label"] = _order(batch, returned, share, stream)
        labelled.append(part)
    return labelled


def tied(outputs: Sequence[Arrays], seed: int) -> list[dict[str, np.ndarray]]:
    """Outputs of the same shapes, but with few different values: many are equal, and none depends on the model."""
    return [
        {name: _few_values(array, Stream(seed, "metric", f"ties {number} {name}")) for name, array in part.items()}
        for number, part in enumerate(outputs)
    ]


def _few_values(array: np.ndarray, stream: Stream) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    return (stream.integers(array.size, 5) - 2).reshape(array.shape).astype(np.float64)


def _mixed(
    labels: np.ndarray, kept: np.ndarray, found: np.ndarray, classes: int, share: float, stream: Stream
) -> np.ndarray:
    """Labels of which, where `kept`, a share is as `found` and the rest is not."""
    places = np.flatnonzero(kept)
    right = stream.order(len(places)) < round(share * len(places))
    new, was, predicted = labels.copy(), labels.reshape(-1)[places], found.reshape(-1)[places]
    other = (predicted + 1 + stream.integers(len(places), max(classes - 1, 1))) % classes
    new.reshape(-1)[places] = np.where(right, predicted, np.where(was == predicted, other, was))
    return new


def _classes(batch: Arrays, outputs: Arrays, share: float, stream: Stream) -> np.ndarray:
    logits, labels = outputs["logits"], batch["labels"]
    return _mixed(labels, labels != IGNORED, first_largest(logits), logits.shape[-1], share, stream)


def _sampled(batch: Arrays, outputs: Arrays, share: float, stream: Stream) -> np.ndarray:
    return _classes(batch, {"logits": outputs["generator_logits"]}, share, stream)


def _predicted(batch: Arrays, outputs: Arrays, share: float, stream: Stream) -> np.ndarray:
    return _classes(batch, {"logits": outputs["prediction_logits"]}, share, stream)


def _order(batch: Arrays, outputs: Arrays, share: float, stream: Stream) -> np.ndarray:
    labels, logits = batch["next_sentence_label"], outputs["seq_relationship_logits"]
    return _classes({"labels": labels}, {"logits": logits}, share, stream)


def _replaced(batch: Arrays, outputs: Arrays, share: float, stream: Stream) -> np.ndarray:
    labels = batch["labels"]
    counted = (labels != IGNORED) & (batch["attention_mask"] == 1)
    return _mixed(labels, counted, (outputs["logits"] > 0).astype(np.int64), 2, share, stream)


def _example(batch: Arrays, outputs: Arrays, share: float, stream: Stream) -> np.ndarray:
    """Classes, or where the labels are numbers, the predicted numbers with noise, rounded so that some are equal."""
    if batch["labels"].dtype.kind != "f":
        return _classes(batch, outputs, share, stream)
    found = outputs["logits"].reshape(batch["labels"].shape)
    standard = (found - found.mean()) / (found.std() or 1.0)
    return (np.round(2 * standard + stream.normals(found.shape)) / 2).astype(np.float32)


_LABELS: Mapping[str, Callable[[Arrays, Arrays, float, Stream], np.ndarray]] = {
    "sequence_classification": _example,
    "replaced_token": _replaced,
    "pretraining": _sampled,
    "masked_lm_and_next_sentence": _predicted,
}


def _questions(batch: Arrays, outputs: Arrays, share: float, stream: Stream, own: bool) -> dict[str, np.ndarray]:
    """Contexts in which every token is a word, where the tokens stand there, and the answers.

    Answers are written in another way than the context, which normalisation must undo.
    """
    spelled = [_spell(ids, inside) for ids, inside in zip(batch["input_ids"], _contexts(batch), strict=True)]
    right = stream.order(len(spelled)) < round(share * len(spelled))
    answers = []
    for row, (context, offsets) in enumerate(spelled):
        first, last = int(batch["start_positions"][row]), int(batch["end_positions"][row])
        if not own and first != IGNORED != last:
            first, last = _near(outputs, row, offsets, bool(right[row]))
        known = 0 <= first <= last and offsets[first, 0] >= 0 <= offsets[last, 0]
        answers.append([f"The {context[offsets[first, 0] : offsets[last, 1]].upper()}!" if known else ""])
    contexts, offsets = zip(*spelled, strict=True)
    return {"context": np.array(contexts), "offset_mapping": np.array(offsets), "answers": np.array(answers)}


def _near(outputs: Arrays, row: int, offsets: np.ndarray, right: bool) -> tuple[int, int]:
    """The predicted span, or one that has a token more or less at its end."""
    for span in n_best(outputs["start_logits"][row], outputs["end_logits"][row], offsets)[:1]:
        longer = span.end + 1 < len(offsets) and offsets[span.end + 1, 0] >= 0
        wrong = span.end + 1 if longer else max(span.start, span.end - 1)
        return span.start, span.end if right else wrong
    return IGNORED, IGNORED


def _contexts(batch: Arrays) -> np.ndarray:
    """(B, L) bool: the attended tokens of the last segment, without the special ones at its ends."""
    attended = batch["attention_mask"] == 1
    inside = attended & (np.cumsum(attended[:, ::-1], axis=1)[:, ::-1] > 1)  # without the last attended token
    inside[:, 0] = False
    types = np.where(inside, batch["token_type_ids"], -1)
    return inside & (types == types.max(axis=1, keepdims=True))


def _spell(ids: np.ndarray, inside: np.ndarray) -> tuple[str, np.ndarray]:
    """A context of words, one for each token inside it, and the (L, 2) places of the tokens, −1 for the others."""
    offsets = np.full((len(ids), 2), -1)
    text = ""
    for place in np.flatnonzero(inside):
        word = f"{'Ww'[ids[place] % 2]}{ids[place]}"
        offsets[place] = len(text), len(text) + len(word)
        text += f"{word} "
    return text, offsets
