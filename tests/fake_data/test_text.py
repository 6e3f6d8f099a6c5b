"""Batches from text: the same ids and types as the reference tokenisers give, and clear errors."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import fake_data
from fake_data import BatchError
from fake_data.fields import IGNORED
from tests.fake_data.cases import CONFIGS

SPECIAL = {
    "electra": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "funnel": ["<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>"],
}
ENGLISH = "the quick brown fox jump ##s ##ed over a lazy dog ca ##fe café Fox , . ! ' ##,"
CHINESE = "今天气很好我要去公园玩"
WORDS = [*ENGLISH.split(" "), *CHINESE]
TEXT = """The quick brown fox jumped over the lazy dog.\tA lazy fox!
今天天气很好，我要去公园玩。
Café, cafe; foxes' jumps\t今天 the dog

A fox.
"""


@pytest.fixture(params=["electra", "funnel"])
def model(request):
    return request.param


@pytest.fixture
def checkpoint(tmp_path, model):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_vocabulary(folder, model)
    return folder


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def write_vocabulary(folder, model, words=WORDS):
    lines = "".join(word + "\n" for word in [*SPECIAL[model], *words])
    (folder / "vocab.txt").write_text(lines, encoding="utf-8")


def tokenize(text, checkpoint, model, task="backbone", **options):
    return fake_data.tokenize_file(text, checkpoint, model, task, CONFIGS[model], **options)


def reference(checkpoint, model, length, **flags):
    """What transformers' own tokeniser makes of the examples."""
    from transformers import ElectraTokenizer, FunnelTokenizerFast

    kind = {"electra": ElectraTokenizer, "funnel": FunnelTokenizerFast}[model]
    tokenizer = kind(vocab_file=str(checkpoint / "vocab.txt"), **flags)
    rows = [line.split("\t") for line in TEXT.split("\n") if line]
    encoded = [
        tokenizer(*row, truncation="longest_first", max_length=length, padding="max_length", return_token_type_ids=True)
        for row in rows
    ]
    return {key: np.array([row[key] for row in encoded]) for key in ("input_ids", "attention_mask", "token_type_ids")}


@pytest.mark.parametrize("length", [6, 9, 10, 17, 45])
@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
    ],
)
def test_ids_and_types_are_those_of_transformers(text, checkpoint, model, length, flags):
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({**flags, "model_max_length": 512}))
    batch = tokenize(text, checkpoint, model, length=length)
    for key, expected in reference(checkpoint, model, length, **flags).items():
        assert batch[key].dtype == np.int64
        assert batch[key].tolist() == expected.tolist(), key


def test_a_saved_tokenizer_goes_before_the_word_list(text, checkpoint, model):
    words = {word: index for index, word in enumerate([*SPECIAL[model], "fox"])}
    saved = Tokenizer(WordLevel(words, unk_token=SPECIAL[model][1]))
    saved.pre_tokenizer = Whitespace()
    saved.enable_truncation(3)
    saved.enable_padding(length=50)
    saved.save(str(checkpoint / "tokenizer.json"))
    ids = tokenize(text, checkpoint, model, length=11)["input_ids"]
    pad, unknown, cls, sep = range(4)
    assert ids[3].tolist() == [cls, unknown, words["fox"], unknown, sep] + [pad] * 6
    assert ids[0].tolist() == [cls, 1, 1, 1, words["fox"], sep, 1, 1, words["fox"], 1, sep]


@pytest.mark.parametrize("task", ["masked_lm", "replaced_token", "token_classification", "question_answering"])
def test_labels_follow_the_rules_of_the_fake_data(text, checkpoint, model, task):
    batch = tokenize(text, checkpoint, model, task, seed=3)
    assert tuple(batch) == fake_data.batch_keys(model, task)
    fake_data.check_batch(batch, model, task, CONFIGS[model])
    again = tokenize(text, checkpoint, model, task, seed=3)
    assert all(np.array_equal(batch[key], again[key]) for key in batch)
    if task == "masked_lm":
        chosen = batch["labels"] != IGNORED
        plain = tokenize(text, checkpoint, model)["input_ids"]
        assert chosen.any(axis=1).all()
        assert (batch["input_ids"][chosen] == SPECIAL[model].index(SPECIAL[model][4])).all()
        assert np.array_equal(np.where(chosen, batch["labels"], batch["input_ids"]), plain)


def test_joint_pretraining(text, tmp_path):
    write_vocabulary(tmp_path, "electra")
    batch = tokenize(text, tmp_path, "electra", "pretraining", length=13)
    assert batch["sampling_noise"].shape == (4, 13, 211)


def test_multiple_choice_has_a_question_and_its_choices(tmp_path, checkpoint, model):
    path = tmp_path / "questions.txt"
    path.write_text("a fox\tthe dog\tquick\na dog\tfox\tbrown fox\n", encoding="utf-8")
    batch = tokenize(path, checkpoint, model, "multiple_choice", length=9)
    assert batch["input_ids"].shape == (2, 2, 9)
    assert batch["labels"].shape == (2,)
    path.write_text("a fox\tthe dog\tquick\na dog\tfox\n", encoding="utf-8")
    with pytest.raises(BatchError, match="line 2 has 2 columns; expected a question"):
        tokenize(path, checkpoint, model, "multiple_choice")


def test_sizes(text, checkpoint, model):
    assert tokenize(text, checkpoint, model, batch_size=3)["input_ids"].shape[0] == 3
    assert tokenize(text, checkpoint, model)["input_ids"].shape == (4, {"electra": 48, "funnel": 61}[model])
    with pytest.raises(BatchError, match="length is 3, the smallest"):
        tokenize(text, checkpoint, model, length=3)
    with pytest.raises(BatchError, match="batch is 0, the smallest"):
        tokenize(text, checkpoint, model, batch_size=0)


def test_too_many_positions(text, tmp_path):
    write_vocabulary(tmp_path, "electra")
    with pytest.raises(BatchError, match="length is 49, max_position_embeddings allows 48"):
        tokenize(text, tmp_path, "electra", length=49)


def test_a_larger_vocabulary_than_the_model_has(text, checkpoint, model):
    write_vocabulary(checkpoint, model, [f"w{i}" for i in range(300)] + WORDS)
    with pytest.raises(BatchError, match=r"input_ids: \d+ at \(0, 1\).*tokenise with the vocabulary of this"):
        tokenize(text, checkpoint, model)


def test_marks_at_the_start_and_other_line_ends(text, checkpoint, model):
    plain = tokenize(text, checkpoint, model)
    text.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert np.array_equal(tokenize(text, checkpoint, model)["input_ids"], plain["input_ids"])
    text.write_text("a fox\u2028a dog\x85a cat\n", encoding="utf-8")
    assert len(tokenize(text, checkpoint, model)["input_ids"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"text\.txt: no text in it"),
        (b"\n \r\n", r"text\.txt: no text in it"),
        (b"a fox\na\xff dog\n", r"text\.txt: not UTF-8 at byte 7"),
        (b"a fox\na\tb\tc\n", "line 2 has 3 columns; expected a text or a pair"),
    ],
)
def test_texts_that_cannot_be_read(text, checkpoint, model, content, message):
    text.write_bytes(content)
    with pytest.raises(BatchError, match=message):
        tokenize(text, checkpoint, model)


def test_missing_files(text, checkpoint, model):
    with pytest.raises(BatchError, match=r"none\.txt: No such file"):
        tokenize(text.with_name("none.txt"), checkpoint, model)
    (checkpoint / "vocab.txt").unlink()
    with pytest.raises(BatchError, match=r"checkpoint: neither tokenizer\.json nor vocab\.txt"):
        tokenize(text, checkpoint, model)


def test_vocabularies_that_do_not_serve(text, checkpoint, model):
    other = {"electra": "funnel", "funnel": "electra"}[model]
    write_vocabulary(checkpoint, other)
    with pytest.raises(BatchError, match=r"the vocabulary lacks .*is it this architecture's"):
        tokenize(text, checkpoint, model)
    (checkpoint / "tokenizer.json").write_text("{")
    with pytest.raises(BatchError, match=r"tokenizer\.json: "):
        tokenize(text, checkpoint, model)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_flags_that_are_no_object(text, checkpoint, model, content):
    (checkpoint / "tokenizer_config.json").write_text(content)
    with pytest.raises(BatchError, match=r"tokenizer_config\.json: (not JSON|expected an object)"):
        tokenize(text, checkpoint, model)


def test_rows_are_encoded_as_the_lines_of_a_file(text, checkpoint, model):
    rows = [line.split("\t") for line in TEXT.split("\n") if line]
    encoded = fake_data.encode_rows(rows, checkpoint, model, 17)
    batch = tokenize(text, checkpoint, model, length=17)
    assert encoded.keys() == batch.keys()
    assert all(np.array_equal(encoded[name], batch[name]) for name in batch)
    assert fake_data.encode_rows([("", "")], checkpoint, model, 9)["attention_mask"].sum() == 3
