"""The data stage: do both sides make the same batches of the same text?

The tokenisers of transformers and of PaddleNLP are built from one vocabulary, the checkpoint's or a small one of our
own, and compared on texts that tokenisers are known to part on, and on the user's; our own tokeniser is the third
voice. Where a package is known to differ, that is a note with its reason (see `tokenization.known`), and only what is
not known by name is red. Then padding, the order of the examples, the batches that both DataLoaders yield, and masking
are compared with the functions that both sides are to use.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import fake_data
from align.batching import Example
from align.batching import comparison as batching
from align.case import Case
from align.errors import CannotCompareError
from align.ledger import Ledger
from align.record import Record, write_record
from align.stage import StageReport
from align.stages import Subject
from align.tokenization import Recipe, Row, flags_of, texts
from align.tokenization.comparison import Comparison
from align.tokenization.jobs import Answers, Job, arrange, make_jobs, requests
from align.tokenization.vocabulary import make_vocabulary
from align.trial import Pair
from fake_data.spec import find_spec

SIDES = ("torch", "paddle")
MOST_LINES = 2000  # of the user's text
_LENGTH, _BATCH, _EPOCHS = 48, 5, 3  # tokens of an example, examples of a batch


def run(subject: Subject) -> StageReport:
    """Judge tokenisation, padding, order, batches and masking."""
    started = time.perf_counter()
    case = subject.registered("data")
    ledger = Ledger()
    study = _Study(subject.pair, case, ledger, *_vocabulary(case, ledger))
    study.judge_tokenisers()
    study.judge_batches()
    study.judge_masking()
    seconds = time.perf_counter() - started
    return StageReport("data", seconds, ledger.verdicts, ledger.findings(), ledger.notes, study.blind)


def _vocabulary(case: Case, ledger: Ledger) -> tuple[list[Row], list[str], Recipe]:
    """The texts, the words of the vocabulary by id, and what tokenisers are built from."""
    rows: list[Row] = [*((text,) for text in texts.SINGLES), *texts.PAIRS, *_user_rows(case, ledger)]
    special, folder, flags = find_spec(case.model).special_tokens, case.checkpoint, {}
    if folder is not None and (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        words, flags = [line.removesuffix("\r") for line in lines], flags_of(folder)
    else:
        words = make_vocabulary([text for row in rows for text in row], special)
        if folder is not None:
            ledger.notes.append(f"{folder} has no vocab.txt: the vocabulary of this stage is made of its own texts")
    missing = [token for token in special.values() if token not in words]
    if missing:
        raise CannotCompareError(f"{folder}/vocab.txt lacks {' '.join(missing)}: is it of this architecture?")
    return rows, words, Recipe(case.model, "", special, **flags)


def _user_rows(case: Case, ledger: Ledger) -> list[Row]:
    """The lines of the user's text; a TAB parts the two texts of a pair."""
    if case.text is None:
        return []
    lines = [line.rstrip("\r") for line in case.text.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    if len(lines) > MOST_LINES:
        ledger.notes.append(f"of the {len(lines)} lines of {case.text} the first {MOST_LINES} are used")
    return [line.split("\t")[:2] for line in lines[:MOST_LINES]]


@dataclass
class _Study:
    """One case, its texts and vocabulary, and what has been found."""

    pair: Pair
    case: Case
    ledger: Ledger
    rows: Sequence[Row]
    words: Sequence[str]
    recipe: Recipe
    blind: list[str] = field(default_factory=list)

    @property
    def ids(self) -> dict[str, int]:
        """The special tokens' ids by role."""
        return {role: self.words.index(token) for role, token in self.recipe.special_tokens.items()}

    def judge_tokenisers(self) -> None:
        jobs = make_jobs(self.recipe, self.words, self.rows, self.pair.folder)
        self.recipe = jobs[0].recipe
        answers = self.ask(jobs)
        comparison = Comparison(self.ledger, self.words, self.ids["unk"])
        for job, given in zip(jobs, answers, strict=False):
            comparison.judge(job, given)
            for name, padded in given.padded.items():
                pad = self.ids["pad"]
                batching.judge_padding(self.ledger, name, given.by_name[name], padded, job.paddings, pad)
        self.ledger.notes += comparison.notes()

    def ask(self, jobs: Sequence[Job]) -> list[Answers]:
        """What all tokenisers give; nothing, and the report says so, where a package is not installed."""
        asked, files = requests(jobs), {}
        for side in SIDES:
            files[side] = self.pair.folder / f"requests-{side}.json", self.pair.folder / f"answers-{side}.json"
            files[side][0].write_text(json.dumps(asked[side]), encoding="utf-8")
        given = self.both(
            "tokenising", "data.encode", {s: {"requests": str(a), "out": str(b)} for s, (a, b) in files.items()}
        )
        missing = sorted({result["missing"] for result in given.values() if "missing" in result})
        if missing:
            self.blind.append(f"tokenisation: {' and '.join(missing)} missing, pip install plumbline[reference]")
            return []
        return arrange(jobs, *(json.loads(files[side][1].read_text(encoding="utf-8")) for side in SIDES))

    def judge_batches(self) -> None:
        examples, pad = self.examples(), self.ids["pad"]
        (file := self.pair.folder / "examples.json").write_text(json.dumps(examples), encoding="utf-8")
        ask = {"examples": str(file), "size": _BATCH, "epochs": _EPOCHS, "seed": self.case.seed, "pad_id": pad}
        files = {side: self.pair.folder / f"batches-{side}.rec" for side in SIDES}
        native = self.both("loading", "data.batches", {side: ask | {"out": str(file)} for side, file in files.items()})
        expected = batching.expected_batches(examples, _BATCH, _EPOCHS, self.case.seed, pad)
        for side in SIDES:
            batching.judge_batches(self.ledger, side, expected, batching.read_batches(Record(files[side])))
        shuffles = " and ".join(f"{side}'s {native[side]['order'][:6]}" for side in SIDES)
        dtypes = " and ".join(f"{side}'s {native[side]['dtype']}" for side in SIDES)
        self.ledger.notes.append(
            f"from one seed the frameworks' own shuffles begin {shuffles}, so the order comes from here; of Python's "
            f"floats their own collate functions make {dtypes}, ours float32"
        )

    def examples(self) -> list[Example]:
        """Every text as our own tokeniser has it, with a class, a number and its place."""
        found = fake_data.encode_rows(self.rows, self.recipe.folder, self.case.model, _LENGTH)
        widths = found["attention_mask"].sum(1).tolist()
        return [
            {name: array[i, :width].tolist() for name, array in found.items()}
            | {"labels": [-100, *range(width - 1)], "class": i % 3, "score": i / 7, batching.INDEX: i}
            for i, width in enumerate(widths)
        ]

    def judge_masking(self) -> None:
        seed, ids = self.case.seed, self.ids
        tokens = batching.tokens_to_mask(len(self.words), ids, seed)
        file = write_record(self.pair.folder / "tokens.rec", tokens)
        files = {side: self.pair.folder / f"masked-{side}.rec" for side in SIDES}
        ask = {"tokens": str(file), "mask_id": ids["mask"], "seed": seed}
        self.both("masking", "data.mask", {side: ask | {"out": str(file)} for side, file in files.items()})
        for side in SIDES:
            batching.judge_masking(self.ledger, side, tokens, ids["mask"], seed, Record(files[side]))

    def both(self, what: str, operation: str, arguments: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """The results of one operation on both sides at once."""
        with self.pair.steps.step(what):
            pending = {side: getattr(self.pair, side).submit(operation, **arguments[side]) for side in SIDES}
            return {side: answer.result() for side, answer in pending.items()}
