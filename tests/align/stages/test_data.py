"""The data stage: green where the packages differ only as is known, red and rightly named on every bug."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("paddlenlp")
pytest.importorskip("transformers")

from align import registry
from align.__main__ import main
from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.errors import CannotCompareError
from align.progress import Steps
from align.selftest.kinds.data import mutations
from align.selftest.mutation import Mutation
from align.selftest.sabotage import SabotagedClient
from align.selftest.site import survey
from align.stages import data
from align.tokenization import texts
from align.tokenization.known import LOSING_FLAGS, WITHOUT_OFFSETS

SIDES = ("torch", "paddle")
TOKENS = ("input_ids", "token_type_ids", "offset_mapping", "truncation", "padding")
BUGS = [
    (side, bug) for side, step in (("paddle", 1), ("torch", 4)) for bug in mutations(survey("funnel", side))[::step]
]


def judge(case, **clients):
    torch, paddle = (clients.get(side) or InProcessClient(side) for side in SIDES)
    return judge_case(case, torch, paddle, Steps(), stages=("data",))


@pytest.mark.parametrize("model", registry.names())
def test_every_model_is_green_and_known_deviations_are_notes(model):
    report = judge(resolve(model))
    assert report.passed, str(report)
    notes = "\n".join(report.stages[0].notes)
    assert "PaddleNLP makes a word of every symbol" in notes
    assert "the frameworks' own shuffles begin torch's" in notes
    assert ("drops strip_accents" in notes) == (model in LOSING_FLAGS)
    assert ("offsets are not compared" in notes) == (model in WITHOUT_OFFSETS)
    kinds = {verdict.kind for verdict in report.stages[0].verdicts}
    assert kinds == {"tokens", "batch", "masking"}


@pytest.fixture
def few_texts(monkeypatch):
    """Texts enough for every bug to show."""
    monkeypatch.setattr(texts, "SINGLES", [*texts.ENGLISH[:3], *texts.CHINESE[:2], *texts.AWKWARD[:3]])
    monkeypatch.setattr(texts, "PAIRS", texts.PAIRS[:3])


def without_tokenisers(session):
    """A side whose tokeniser package is not installed."""
    pipeline = session.data

    def missing(recipe):
        raise ImportError("no such package", name="a_package")

    session.data = lambda: dataclasses.replace(pipeline(), tokenizers=missing)


@pytest.mark.parametrize(("side", "bug"), BUGS, ids=str)
@pytest.mark.usefixtures("few_texts")
def test_every_bug_is_found_and_named(side, bug):
    clients = {side: SabotagedClient(side, bug)}
    if bug.blamed not in TOKENS:  # found without them, and faster
        other = SIDES[1 - SIDES.index(side)]
        clients[other] = SabotagedClient(other, Mutation("", "no tokenisers", "data", "", without_tokenisers))
    report = judge(resolve("funnel"), **clients)
    assert not report.passed
    assert report.blame[0].module == bug.blamed, str(report)
    assert side in report.blame[0].why or ("paddlenlp" if side == "paddle" else "slow") in report.blame[0].why


def test_there_are_enough_kinds_of_bug():
    kinds = {bug.kind for _, bug in BUGS}
    assert {"DA01", "DA02", "DA04", "DA05", "TK01", "TK02", "TK03"} <= kinds
    assert len({bug.name for _, bug in BUGS}) >= 25


def test_without_a_package_the_rest_is_judged_and_the_report_says_so():
    absent = Mutation("", "no tokenisers", "data", "", without_tokenisers)
    report = judge(resolve("electra"), paddle=SabotagedClient("paddle", absent))
    assert report.passed
    assert {verdict.kind for verdict in report.stages[0].verdicts} == {"batch", "masking"}
    assert report.stages[0].blind == ["tokenisation: a_package missing, pip install plumbline[reference]"]


@pytest.fixture
def checkpoint(tmp_path):
    """A small ELECTRA with a cased vocabulary, as transformers saves it."""
    import torch
    from transformers import ElectraConfig, ElectraForPreTraining

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "The", "the", "##s", "wall", "Wall", "é", "e", ".", "中"]
    sizes = {"hidden_size": 24, "embedding_size": 16, "num_attention_heads": 3, "intermediate_size": 40}
    torch.manual_seed(0)
    ElectraForPreTraining(ElectraConfig(vocab_size=len(words), num_hidden_layers=1, **sizes)).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    return tmp_path


@pytest.mark.usefixtures("few_texts")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_checkpoint_brings_its_vocabulary_and_the_user_a_text(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MOST_LINES", 4)
    text = tmp_path / "mine.txt"
    text.write_text("The walls.\tthe Wall\nthe ☃snow中\n\n" + "The wall.\n" * 3, encoding="utf-8")
    report = judge(resolve("electra", checkpoint=checkpoint, text=text))
    assert report.passed, str(report)
    notes = "\n".join(report.stages[0].notes)
    assert "of the 5 lines" in notes
    assert "the first 4 are used" in notes
    probes = {verdict.probe for verdict in report.stages[0].verdicts}
    assert "do_lower_case True, strip_accents None" in probes  # the checkpoint's own flag is the other
    assert "do_lower_case False, strip_accents None" not in probes
    (checkpoint / "vocab.txt").write_text("[PAD]\n[UNK]\nwall\n")
    with pytest.raises(CannotCompareError, match=r"lacks \[CLS\] \[SEP\] \[MASK\]"):
        judge(resolve("electra", checkpoint=checkpoint))
    (checkpoint / "vocab.txt").unlink()
    assert "has no vocab.txt" in "\n".join(judge(resolve("electra", checkpoint=checkpoint)).stages[0].notes)


@pytest.mark.usefixtures("few_texts")
def test_the_command_line(capsys, tmp_path):
    file = tmp_path / "report.json"
    assert main(["data", "--model", "funnel", "--in-process", "--json", str(file)]) == 0
    assert "PARITY" in capsys.readouterr().out
    assert json.loads(file.read_text())["stages"][0]["stage"] == "data"
    assert np.isfinite([diff["limit"] for diff in json.loads(file.read_text())["stages"][0]["diffs"]]).all()
