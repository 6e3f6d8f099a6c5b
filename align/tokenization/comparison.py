"""What two packages' tokenisers make of the same texts, and which differences are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import fake_data
from align.ledger import Ledger
from align.tokenization import Encoding, Row
from align.tokenization.jobs import Answers, Job
from align.tokenization.known import KNOWN, halved, lost_offsets

_THREE = ("input_ids", "token_type_ids", "attention_mask")  # what a model is given
_FIELDS = (*_THREE, "special_tokens_mask")
_DETAILS = ("decoded", "offset_mapping")
_AROUND = 3  # tokens shown before and after the first that differs


@dataclass
class Comparison:
    """Judges jobs and remembers where known deviations showed."""

    ledger: Ledger
    words: Sequence[str]  # of the vocabulary, by id
    unknown: int
    seen: dict[str, dict[Row, str]] = field(default_factory=dict)

    def judge(self, job: Job, answers: Answers) -> None:
        """Compare every tokeniser with the reference: transformers' slow one, for offsets its fast one."""
        reference = answers.by_name["slow"]
        own, again = self.own(job, job.rows, reference), {}
        if own and job.composed:
            again = dict(zip(job.composed, self.own(job, list(job.composed.values()), reference), strict=True))
        for name in [name for name in answers.by_name if name != "slow"]:
            self.compare(job, name, reference, answers, own)
        for part in _THREE if own else ():
            wrong = [
                i
                for i, row in enumerate(own)
                if row[part] != reference[i].get(part) and not (i in again and again[i][part] == reference[i].get(part))
            ]
            detail = self.describe(job, wrong, part, ("torch", reference), ("our own tokeniser", own), ())
            self.ledger.exact(f"{part}: ours", job.name, "tokens", job.piece or part, len(wrong), len(own), detail)

    def compare(
        self, job: Job, name: str, reference: Sequence[Encoding], answers: Answers, own: Sequence[Encoding]
    ) -> None:
        actual, expected = answers.by_name[name], list(reference)
        same_text = [True] * len(expected)
        for i, given in enumerate(actual):
            for known, proof, wanted in self.proofs(job, name, answers, i) if _ids(given) != _ids(expected[i]) else ():
                if _ids(proof) == _ids(wanted):
                    expected[i], same_text[i] = (given if known == "composed" else wanted), False
                    self.note(known, job, i, reference[i], given)
                    break
        others = {i for i, given in enumerate(actual) if _ids(given) != _ids(expected[i])}
        for part in _FIELDS + _DETAILS if job.details else _FIELDS:
            offsets = part == "offset_mapping"
            values = answers.by_name.get("fast", []) if offsets else expected
            if not values or (offsets and name == "fast"):
                continue
            if offsets and not any(part in given for given in actual):
                self.seen.setdefault("no offsets", {}).update((tuple(row), _short(row)) for row in job.rows)
                continue
            wrong = [
                i
                for i, given in enumerate(actual)
                if part in values[i]
                and given.get(part) != values[i][part]
                and (part == "input_ids" or i not in others)
                and not (offsets and self.is_known(job, i, values[i], given, same_text[i]))
            ]
            side = "torch fast" if name == "fast" else "paddle"
            detail = self.describe(job, wrong, part, ("torch", values), (side, actual), own)
            self.ledger.exact(f"{part}: {name}", job.name, "tokens", job.piece or part, len(wrong), len(actual), detail)

    def proofs(self, job: Job, name: str, answers: Answers, i: int) -> Iterator[tuple[str, Encoding, Encoding]]:
        """What would be equal, were a known deviation of `name` all that it shows."""
        given = answers.by_name[name][i]
        if name == "fast":
            if i in answers.alone:
                yield "empty second", given, answers.alone[i]
            if answers.whole and job.max_length and (cut := halved(answers.whole[i], job.max_length)):
                yield "halves", given, cut
        else:
            for known, other in (("symbols", answers), ("flags", answers.defaults)):
                if other and known == "flags":
                    yield known, given, other.by_name["slow"][i]
                if other and i in other.apart:
                    yield known, given, other.apart[i]
            for other in filter(None, (answers, answers.defaults)):
                if i in other.opened:
                    yield "special", given, other.opened[i]
        if i in answers.composed:
            for other in filter(None, (answers, answers.defaults)):
                for wanted in filter(None, (other.by_name["slow"][i], other.apart.get(i))):
                    yield "composed", answers.composed[i][name], wanted

    def is_known(self, job: Job, i: int, wanted: Encoding, given: Encoding, same_text: bool) -> bool:
        """Whether different offsets need no finding: known, or another text's, or of ids that are judged already."""
        if "offset_mapping" not in given:
            return False
        if not same_text or wanted["input_ids"] != given["input_ids"]:
            return True
        places = wanted["offset_mapping"], given["offset_mapping"]
        if lost := lost_offsets(given["input_ids"], *places, self.unknown):
            self.note("offsets", job, i, wanted, given)
        return lost

    def own(self, job: Job, rows: Sequence[Row], reference: Sequence[Encoding]) -> list[Encoding]:
        """What our own tokeniser gives; nothing where it cannot do the same."""
        if job.truncation not in (None, "longest_first"):
            return []
        length = job.max_length or max(len(encoding["input_ids"]) for encoding in reference)
        found = fake_data.encode_rows(rows, job.recipe.folder, job.recipe.model, length)
        widths = found["attention_mask"].sum(1)
        return [{name: found[name][i, :width].tolist() for name in _THREE} for i, width in enumerate(widths)]

    def note(self, known: str, job: Job, i: int, expected: Encoding, actual: Encoding) -> None:
        part = "offset_mapping" if known == "offsets" else "input_ids"
        shown = self.difference(part, expected, actual)
        texts = self.seen.setdefault(known, {})
        texts.setdefault(tuple(job.rows[i]), f"{_short(job.rows[i])}: {shown[0]} against {shown[1]}")

    def notes(self) -> list[str]:
        """One note for each known deviation that showed, with the first text."""
        return [
            f"{KNOWN[name]}: in {len(texts)} texts, the first {next(iter(texts.values()))}"
            for name, texts in self.seen.items()
        ]

    def describe(
        self,
        job: Job,
        wrong: Sequence[int],
        part: str,
        expected: tuple[str, Sequence[Encoding]],
        actual: tuple[str, Sequence[Encoding]],
        own: Sequence[Encoding],
    ) -> str:
        if not wrong:
            return ""
        i = wrong[0]
        shown = self.difference(part, expected[1][i], actual[1][i])
        said = f"{len(wrong)} of {len(job.rows)} texts differ in {part}: in {_short(job.rows[i])} {expected[0]} has "
        return said + f"{shown[0]}, {actual[0]} {shown[1]}" + self.odd_one(i, part, expected, actual, own)

    def odd_one(
        self,
        i: int,
        part: str,
        expected: tuple[str, Sequence[Encoding]],
        actual: tuple[str, Sequence[Encoding]],
        own: Sequence[Encoding],
    ) -> str:
        """Which of the two our own tokeniser contradicts."""
        if not own or part not in _THREE:
            return ""
        against = [name for name, given in (expected, actual) if given[i].get(part) != own[i][part]]
        return f"; our own tokeniser contradicts {' and '.join(against)}"

    def difference(self, part: str, expected: Encoding, actual: Encoding) -> tuple[str, str]:
        """Both values around the first place where they differ."""
        wanted, given = expected.get(part), actual.get(part)
        if wanted is None or given is None or isinstance(wanted, str):
            return repr(wanted), repr(given)
        pairs = enumerate(zip(wanted, given, strict=False))
        place = next((i for i, pair in pairs if pair[0] != pair[1]), min(len(wanted), len(given)))
        cut = slice(max(place - _AROUND, 0), place + _AROUND)
        return self.shown(part, wanted[cut]), self.shown(part, given[cut])

    def shown(self, part: str, values: Sequence[Any]) -> str:
        if part != "input_ids":
            return str(values)
        return " ".join(self.words[i] if 0 <= i < len(self.words) else f"id {i}" for i in values)


def _ids(encoding: Encoding) -> list[int] | None:
    return encoding.get("input_ids")


def _short(row: Row) -> str:
    text = " | ".join(row)
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
