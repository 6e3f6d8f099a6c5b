"""Tokenizers load from what was converted, with either library, whichever wrote the source."""

import json
import warnings

import pytest
import transformers

from convert import convert_state
from convert.__main__ import main
from convert.companions import companions
from tests.convert.support import tiny, torch_state, write_folder

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<cls>", "<sep>", "<mask>"]
WORDS = [*MARKS, "the", "plumb", "line", "##s", "hangs", "."]
TEXT = "The plumb lines hangs."
HEADS = {"electra": ("ElectraForMaskedLM", "ElectraTokenizer"), "funnel": ("FunnelForMaskedLM", "FunnelTokenizer")}


@pytest.fixture(scope="module")
def paddlenlp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import paddlenlp.transformers
    return paddlenlp.transformers


def folder_of(path, model, layout):
    name, _ = HEADS[model]
    config = tiny(model) | {"model_type": model, "architectures": [name]}
    state = convert_state(torch_state(model, name), model, "torch", layout)
    write_folder(path, state, config, {"format": "pt", "plumbline_layout": layout})
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return path


@pytest.mark.parametrize("model", HEADS)
@pytest.mark.parametrize("saved", ["vocabulary", "slow", "fast"])
def test_paddlenlp_s_tokenizers_load_what_transformers_saved(tmp_path, paddlenlp, model, saved):
    source, (_, name) = folder_of(tmp_path / "src", model, "transformers"), HEADS[model]
    tokenizer = getattr(transformers, name if saved == "slow" else f"{name}Fast")(str(source / "vocab.txt"))
    if saved != "vocabulary":
        tokenizer.save_pretrained(source)
    assert main([str(source), str(tmp_path / "out"), "--to", "paddlenlp"]) == 0
    for kind in (getattr(paddlenlp, name), paddlenlp.AutoTokenizer):
        loaded = kind.from_pretrained(str(tmp_path / "out"))
        assert type(loaded).__name__ == name
        assert loaded(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]


@pytest.mark.parametrize("model", HEADS)
def test_transformers_tokenizers_load_what_paddlenlp_saved(tmp_path, paddlenlp, model):
    source, (_, name) = folder_of(tmp_path / "src", model, "paddlenlp"), HEADS[model]
    tokenizer = getattr(paddlenlp, name)(str(source / "vocab.txt"))
    tokenizer.save_pretrained(str(source))
    assert main([str(source), str(tmp_path / "out"), "--to", "transformers"]) == 0
    for kind in (getattr(transformers, name), transformers.AutoTokenizer):
        assert kind.from_pretrained(tmp_path / "out")(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]


def test_settings_go_along_unchanged_and_only_a_class_that_paddlenlp_lacks_is_named_anew(tmp_path):
    settings = {"do_lower_case": False, "tokenizer_class": "ElectraTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    (tmp_path / "README.md").write_text("stays where it is")
    assert set(found := companions(tmp_path, "transformers", {})) == {"tokenizer_config.json", "tokenizer.json"}
    assert json.loads(found["tokenizer_config.json"]) == settings
    named = companions(tmp_path, "paddlenlp", {"architectures": ["FunnelModel"]})
    assert json.loads(named["tokenizer_config.json"]) == settings | {"tokenizer_class": "ElectraTokenizer"}


@pytest.mark.parametrize(
    ("architecture", "tokenizer"),
    [
        ("ElectraDiscriminator", "ElectraTokenizer"),
        ("FunnelBaseModel", "FunnelTokenizer"),
        ("RoFormerForMaskedLM", "RoFormerTokenizer"),
        ("GAUAlphaModel", "GAUAlphaTokenizer"),
    ],
)
def test_the_tokenizer_is_named_after_the_architecture(tmp_path, architecture, tokenizer):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    found = companions(tmp_path, "paddlenlp", {"architectures": [architecture]})
    assert json.loads(found["tokenizer_config.json"]) == {"tokenizer_class": tokenizer}
    assert set(companions(tmp_path, "paddlenlp", {})) == {"vocab.txt"}


def test_without_a_tokenizer_nothing_is_made_up(tmp_path):
    assert companions(tmp_path, "paddlenlp", {"architectures": ["FunnelModel"]}) == {}
