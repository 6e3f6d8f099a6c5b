"""What the tokenisers are asked, and their answers put in order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import fake_data
from align.tokenization import Encoding, Recipe, Row
from align.tokenization.known import (
    LOSING_FLAGS,
    TAKING_APART,
    composed,
    with_special_as_text,
    with_symbols_apart,
    without_empty_second,
)

_LENGTHS = (8, 13, 32)
_LONGEST = 512
PADDINGS: tuple[dict[str, Any], ...] = (
    {},
    {"side": "left"},
    {"max_length": 40},
    {"multiple": 8},
    {"side": "left", "max_length": 36, "multiple": 8},
)


@dataclass(frozen=True)
class Job:
    """Rows to be tokenised in one way. `piece` is what a difference is blamed on, "" for the field that differs."""

    name: str
    recipe: Recipe
    rows: Sequence[Row]
    truncation: str | None = None
    max_length: int | None = None
    piece: str = ""
    details: bool = False
    paddings: Sequence[Mapping[str, Any]] = ()

    def request(self) -> dict[str, Any]:
        """What `operations.data.encode` is asked."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "piece")}

    def only(self, rows: Mapping[int, Row]) -> "Job":
        """The same for a few altered rows."""
        return replace(self, rows=list(rows.values()), paddings=())

    @property
    def apart(self) -> dict[int, Row]:
        """The rows that have symbols, by number, with blanks around those."""
        return self._changed([with_symbols_apart(row, self.recipe.do_lower_case) for row in self.rows])

    @property
    def opened(self) -> dict[int, Row]:
        """The rows with special tokens or capitals, by number, as a tokeniser sees them that takes these apart."""
        if self.recipe.model not in TAKING_APART:
            return {}
        special, lower = self.recipe.special_tokens.values(), self.recipe.do_lower_case
        rows = [with_special_as_text(row, special, lower) for row in self.rows]
        return self._changed([with_symbols_apart(row, lower) for row in rows])

    @property
    def alone(self) -> dict[int, Row]:
        """The rows whose second text is empty, by number, without it."""
        return self._changed([without_empty_second(row) for row in self.rows])

    @property
    def composed(self) -> dict[int, Row]:
        """The rows that change by composing letters and accents, by number, composed."""
        return self._changed([composed(row) for row in self.rows])

    def has_lost_the_flags_of(self, other: "Job") -> bool:
        """Whether this is what the other job becomes where a tokeniser is known to lose its flags."""
        plain = replace(other.recipe, folder=self.recipe.folder, strip_accents=None, tokenize_chinese_chars=True)
        return (
            other.recipe.model in LOSING_FLAGS
            and self.recipe == plain != replace(other.recipe, folder=plain.folder)
            and (self.rows, self.truncation, self.max_length) == (other.rows, other.truncation, other.max_length)
        )

    def _changed(self, rows: Sequence[Row]) -> dict[int, Row]:
        return {i: row for i, row in enumerate(rows) if list(row) != list(self.rows[i])}


@dataclass
class Answers:
    """What all tokenisers gave for one job: by name one encoding for each row.

    `apart`, `opened` and `alone` are the slow tokeniser's for the rows so altered, `whole` its own without truncation;
    `composed` are all tokenisers'. `defaults` are the answers to the same job without the flags that a known deviation
    loses.
    """

    by_name: Mapping[str, Sequence[Encoding]]
    padded: Mapping[str, Sequence[Any]]
    apart: Mapping[int, Encoding]
    opened: Mapping[int, Encoding]
    alone: Mapping[int, Encoding]
    composed: Mapping[int, Mapping[str, Encoding]]
    whole: Sequence[Encoding] = ()
    defaults: "Answers | None" = None


def make_jobs(recipe: Recipe, words: Sequence[str], rows: Sequence[Row], folder: Path) -> list[Job]:
    """Every row whole; cut to several lengths by several rules, and padded; and whole by other choices of flags.

    Vocabularies are written into `folder`, beside the flags that go with them.
    """
    whole = Job("texts", write_recipe(recipe, words, folder), rows, details=True)
    cut = replace(whole, truncation="longest_first", piece="truncation", details=False)
    jobs = [whole, *(replace(cut, name=f"cut to {length}", max_length=length) for length in _LENGTHS)]
    jobs[-1] = replace(jobs[-1], paddings=PADDINGS)
    for column, rule in enumerate(("only_first", "only_second")):
        length = _LENGTHS[1]
        losing = _that_can_lose(whole, column, length)
        if losing:
            jobs.append(replace(cut, name=f"{rule} to {length}", max_length=length, truncation=rule, rows=losing))
    for name, flags in _other_flags(recipe).items():
        other = write_recipe(replace(recipe, **flags), words, folder)
        jobs.append(replace(whole, name=name, recipe=other, piece="flags", details=False))
    return jobs


def _other_flags(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Every other choice of case and accents, and the other choice of Chinese characters."""
    choices = [
        {"do_lower_case": lower, "strip_accents": accents} for lower in (True, False) for accents in (None, True, False)
    ]
    choices.append({"tokenize_chinese_chars": not recipe.tokenize_chinese_chars})
    return {
        ", ".join(f"{name} {value}" for name, value in flags.items()): flags
        for flags in choices
        if any(recipe.flags[name] != value for name, value in flags.items())
    }


def write_recipe(recipe: Recipe, words: Sequence[str], folder: Path) -> Recipe:
    """The recipe with a folder of its own, in which its vocabulary and flags stand."""
    own = folder / "-".join(["vocabulary", *map(str, recipe.flags.values())])
    own.mkdir(exist_ok=True)
    (own / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (own / "tokenizer_config.json").write_text(json.dumps(recipe.flags), encoding="utf-8")
    return replace(recipe, folder=str(own))


def _that_can_lose(job: Job, column: int, length: int) -> list[Row]:
    """The pairs of which one text is long enough to be cut until the pair fits."""
    pairs = [row for row in job.rows if len(row) == 2]
    texts = [row[i : i + 1] for row in pairs for i in (0, 1)]
    if not pairs:
        return []
    found = fake_data.encode_rows(texts, job.recipe.folder, job.recipe.model, _LONGEST)
    counts = found["attention_mask"].sum(1).reshape(-1, 2) - 2  # without the two special tokens of each
    return [row for row, both in zip(pairs, counts, strict=True) if both[column] > both.sum() + 3 - length > 0]


def requests(jobs: Sequence[Job]) -> dict[str, list[dict[str, Any]]]:
    """What each side is asked: the jobs, and the altered rows that prove what is known of one tokeniser or another."""
    torch = [[job, *map(job.only, (job.apart, job.opened, job.alone, job.composed))] for job in jobs]
    paddle = [[job, job.only(job.composed)] for job in jobs]
    return {
        side: [part.request() for parts in asked for part in parts]
        for side, asked in (("torch", torch), ("paddle", paddle))
    }


def arrange(jobs: Sequence[Job], torch: Sequence[Any], paddle: Sequence[Any]) -> list[Answers]:
    """The answers to `requests`, by job."""
    found: list[Answers] = []
    for number, job in enumerate(jobs):
        mine, apart, opened, alone, composed_mine = torch[5 * number : 5 * number + 5]
        theirs, composed_theirs = paddle[2 * number : 2 * number + 2]
        by_name, again = mine | theirs, composed_mine | composed_theirs
        columns = zip(*(answer["encodings"] for answer in again.values()), strict=True)
        found.append(
            Answers(
                by_name={name: answer["encodings"] for name, answer in by_name.items()},
                padded={name: answer["padded"] for name, answer in by_name.items()},
                apart=dict(zip(job.apart, apart["slow"]["encodings"], strict=True)),
                opened=dict(zip(job.opened, opened["slow"]["encodings"], strict=True)),
                alone=dict(zip(job.alone, alone["slow"]["encodings"], strict=True)),
                composed={
                    i: dict(zip(again, column, strict=True)) for i, column in zip(job.composed, columns, strict=True)
                },
                whole=found[0].by_name["slow"] if found and len(job.rows) == len(jobs[0].rows) else (),
            )
        )
    for job, answers in zip(jobs, found, strict=True):
        answers.defaults = next(
            (other for twin, other in zip(jobs, found, strict=True) if twin.has_lost_the_flags_of(job)), None
        )
    return found
