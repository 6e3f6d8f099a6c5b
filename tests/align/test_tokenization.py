"""Tokenisers of two packages from one vocabulary; what is known to differ, on our own texts and on real ones."""

import json

import pytest

pytest.importorskip("paddlenlp")
pytest.importorskip("transformers")

from align.ledger import Ledger
from align.operations import data
from align.session import Session
from align.tokenization import Recipe, class_of, texts
from align.tokenization.comparison import Comparison
from align.tokenization.jobs import arrange, make_jobs, requests
from align.tokenization.known import KNOWN, halved, lost_offsets, with_special_as_text, with_symbols_apart
from align.tokenization.vocabulary import make_vocabulary
from fake_data.spec import find_spec
from tests.real_data import DATA, needs

SPECIAL = find_spec("electra").special_tokens
OWN = [*((text,) for text in texts.SINGLES), *texts.PAIRS]


@pytest.fixture(scope="module")
def sessions():
    return Session("torch"), Session("paddle")


def judged(sessions, folder, words, rows, model="electra", **flags):
    """The comparison of both packages' tokenisers, and its jobs and answers."""
    special = find_spec(model).special_tokens
    jobs = make_jobs(Recipe(model, "", special, **flags), words, rows, folder)
    given = []
    for session, side in zip(sessions, ("torch", "paddle"), strict=True):
        asked, out = folder / f"{side}-in.json", folder / f"{side}-out.json"
        asked.write_text(json.dumps(requests(jobs)[side]))
        assert data.encode(session, str(asked), str(out)) == {}
        given.append(json.loads(out.read_text()))
    answers = arrange(jobs, *given)
    comparison = Comparison(Ledger(), words, words.index(special["unk"]))
    for job, answer in zip(jobs, answers, strict=True):
        comparison.judge(job, answer)
    return comparison, jobs, answers


def assert_only_known(comparison):
    findings = comparison.ledger.findings()
    assert findings == [], findings[0].why
    assert comparison.ledger.verdicts


UNSEEN = {  # what a model's tokenisers do not show; PaddleNLP's RoFormerTokenizer is not asked for offsets
    "electra": {"flags", "special", "no offsets"},
    "funnel": {"special", "no offsets"},
    "roformer": {"offsets"},
    "roformer_v2": {"no offsets"},
}


@pytest.mark.parametrize("model", UNSEEN)
@pytest.mark.parametrize("lower", [True, False])
def test_on_our_own_texts_only_known_deviations_show(sessions, tmp_path, model, lower):
    words = make_vocabulary([text for row in OWN for text in row], find_spec(model).special_tokens)
    comparison, _, _ = judged(sessions, tmp_path, words, OWN, model, do_lower_case=lower)
    assert_only_known(comparison)
    assert set(comparison.seen) == set(KNOWN) - UNSEEN[model]
    for name in comparison.seen:
        assert any(KNOWN[name] in note for note in comparison.notes())


@pytest.fixture(scope="module")
def english(sessions, tmp_path_factory):
    """The answers to a few texts."""
    rows = [
        ("ok😀fine",),
        ("600m² there",),
        ("a b c d e", "f g h i j"),
        ("only", ""),
        ("e\u0301tude",),
        ("plain words",),
    ]
    words = make_vocabulary([text for row in rows for text in row], SPECIAL)
    return judged(sessions, tmp_path_factory.mktemp("english"), words, rows)


def test_paddlenlp_makes_words_of_symbols(english):
    comparison, _, answers = english
    words, first = comparison.words, answers[0].by_name

    def tokens(name, i):
        return " ".join(words[j] for j in first[name][i]["input_ids"][1:-1]).replace("[UNK]", "?")

    assert tokens("slow", 1) == tokens("fast", 1) != tokens("paddlenlp", 1)
    assert "²" in tokens("paddlenlp", 1).split()
    assert "##²" not in tokens("paddlenlp", 1)
    assert [text.split(":")[0] for text in comparison.seen["symbols"].values()] == ["'ok😀fine'", "'600m² there'"]


def test_the_fast_tokeniser_cuts_pairs_to_halves_and_drops_an_empty_second(english):
    comparison, jobs, answers = english
    cut = next(answer for job, answer in zip(jobs, answers, strict=True) if job.max_length == 8)
    lengths = {name: [e["token_type_ids"].count(0) for e in rows][2] for name, rows in cut.by_name.items()}
    assert lengths == {"slow": 5, "fast": 4, "paddlenlp": 5}
    assert len(answers[0].by_name["slow"][3]["input_ids"]) == 1 + len(answers[0].by_name["fast"][3]["input_ids"])
    assert {"halves", "empty second"} <= set(comparison.seen)


def test_an_unknown_deviation_is_red_and_says_where(english):
    comparison, jobs, answers = english
    fresh = Comparison(Ledger(), comparison.words, comparison.unknown)
    wrong = [dict(encoding, input_ids=list(encoding["input_ids"])) for encoding in answers[0].by_name["paddlenlp"]]
    wrong[5]["input_ids"][1] = 3
    answers[0].by_name = {**answers[0].by_name, "paddlenlp": wrong}
    fresh.judge(jobs[0], answers[0])
    [finding] = fresh.ledger.findings()
    assert finding.module == "input_ids"
    assert "'plain words'" in finding.why
    assert "contradicts paddle" in finding.why


@pytest.mark.parametrize(
    ("files", "own"), [({"vocab_file": "vocab.txt"}, True), ({"vocab_file": "spiece.model"}, False)]
)
def test_a_tokeniser_of_other_files_is_left_for_berts(files, own):
    kind, bert = type("FNetTokenizer", (), {"vocab_files_names": files}), object()
    package = type("package", (), {"FNetTokenizer": kind, "BertTokenizer": bert})
    assert class_of(package, "fnet", "Tokenizer") is (kind if own else bert)


def test_symbols_are_put_apart_as_paddlenlp_sees_them():
    assert with_symbols_apart(["a²b", "Ø Ω"], lower=True) == ["a ² b", "Ø Ω"]
    assert with_symbols_apart(["Ø+x"], lower=False) == [" Ø  + x"]


def test_special_tokens_become_text_as_some_of_paddlenlp_s_tokenisers_see_them():
    assert with_special_as_text(["[SEP]x ΟΔΟΣ", "[sep]"], ["[SEP]"], lower=True) == ["[ sep ]x οδος", "[sep]"]
    assert with_special_as_text(["[SEP]x ΟΔΟΣ"], ["[SEP]"], lower=False) == ["[ SEP ]x ΟΔΟΣ"]


def encoding(first, second):
    ids = [2, *range(10, 10 + first), 3, *range(50, 50 + second), 3]
    special = [1, *[0] * first, 1, *[0] * second, 1]
    return {"input_ids": ids, "special_tokens_mask": special}


@pytest.mark.parametrize(
    ("first", "second", "length", "kept"),
    [(5, 5, 8, (2, 3)), (5, 5, 9, (3, 3)), (1, 9, 8, (1, 4)), (9, 1, 8, (4, 1)), (6, 5, 8, (3, 2)), (2, 2, 20, (2, 2))],
)
def test_halves(first, second, length, kept):
    ids = halved(encoding(first, second), length)["input_ids"]
    assert ids == [2, *range(10, 10 + kept[0]), 3, *range(50, 50 + kept[1]), 3]


def test_halves_are_of_pairs():
    assert halved({"input_ids": [2, 9, 3], "special_tokens_mask": [1, 0, 1]}, 8) is None


@pytest.mark.parametrize(
    ("ids", "actual", "lost"),
    [
        ([7, 1, 8], [[0, 1], [2, 4], [4, 5]], True),  # at the unknown word and behind it
        ([7, 8, 1], [[0, 1], [2, 4], [4, 5]], True),  # just before it
        ([7, 8, 9], [[0, 1], [2, 4], [4, 5]], False),
        ([8, 7, 7, 1], [[0, 2], [2, 3], [4, 5], [6, 7]], False),
        ([1, 8], [[0, 1]], False),
    ],
)
def test_offsets_are_lost_at_unknown_words_only(ids, actual, lost):
    expected = [[0, 1], [2, 3], [4, 5], [6, 7]][: len(ids)]
    assert lost_offsets(ids, expected, actual, unknown=1) == lost


def test_the_vocabulary_is_small_the_same_and_leaves_some_words_unknown():
    words = make_vocabulary(texts.SINGLES, SPECIAL)
    assert words == make_vocabulary(texts.SINGLES, SPECIAL)
    assert words[:5] == list(SPECIAL.values())
    assert len(words) == len(set(words)) < 2000
    assert not any(c.isspace() for word in words for c in word)
    assert {"##e", "lamp", "的", "é"} <= set(words)


def lines(path, count):
    """Some lines of a real text, spread over it."""
    found = [line[:400] for line in (DATA / path).read_text(encoding="utf-8").split("\n") if line.strip()]
    return found[:: max(1, len(found) // count)][:count]


REAL = {
    "electra_en_vocab.txt": ["corpus/en_wikitext2_valid.txt", "corpus/en_moby_dick.txt", "glue/CoLA/dev.tsv"],
    "electra_zh_vocab.txt": ["corpus/zh_wiki_200.txt", "corpus/zh_hongloumeng.txt", "clue/tnews/dev.json"],
}


@needs("vocab")
@needs("corpus")
@pytest.mark.parametrize("vocabulary", REAL)
def test_on_real_texts_and_vocabularies_only_known_deviations_show(sessions, tmp_path, vocabulary):
    words = (DATA / "vocab" / vocabulary).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    singles = [line for path in REAL[vocabulary] for line in lines(path, 25)]
    rows = [*((line,) for line in singles), *zip(singles[::4], singles[1::4], strict=False)]
    comparison, _, _ = judged(sessions, tmp_path, words, rows)
    assert_only_known(comparison)
