"""A new architecture is one new file: nothing else names it."""

import textwrap

import pytest

import fake_data

SPECIFICATION = """
from fake_data.fields import TASKS, Task
from fake_data.rows import SpecialIds
from fake_data.spec import Spec, Weight

SPEC = Spec(
    tasks={"masked_lm": TASKS["masked_lm"], "nothing": Task()},
    special_tokens={"pad": "P", "unk": "U", "cls": "C", "sep": "S", "mask": "M"},
    special_ids=SpecialIds(pad=3, cls=5, sep=7, mask=9),
    words={"vocab_size": "size"},
    types=False,
    weights=(Weight("w", std=2.0), Weight("v", std=1.0, mean=4.0, saturated=8.0)),
)
"""


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    (tmp_path / "newcomer.py").write_text(textwrap.dedent(SPECIFICATION))
    monkeypatch.setattr(fake_data, "__path__", [*fake_data.__path__, str(tmp_path)])
    return "newcomer"


def test_batches_and_weights(newcomer):
    batch = fake_data.make_batch(newcomer, "masked_lm", {"size": 60})
    fake_data.check_batch(batch, newcomer, "masked_lm", {"size": 60})
    with pytest.raises(fake_data.BatchError, match="token_type_ids: unexpected"):
        fake_data.check_batch(batch | {"token_type_ids": batch["input_ids"]}, newcomer, "masked_lm", {"size": 60})
    assert batch["input_ids"][0, [0, -1]].tolist() == [5, 3]
    assert fake_data.batch_keys(newcomer, "nothing") == ("input_ids", "attention_mask")
    (_, w), (_, v) = fake_data.make_weights(newcomer, {"w": (3, 400), "v": (5,)})
    assert 1.8 < w.std() < 2.2
    assert fake_data.saturate(newcomer, "v", v).tolist() == (v * 8).tolist()


def test_it_is_among_the_known_names(newcomer):
    with pytest.raises(fake_data.BatchError, match=r"did you mean 'newcomer'\? Known: .*, newcomer"):
        fake_data.batch_keys("newcomr", "masked_lm")


def test_a_path_is_no_name():
    for name in ("../electra", "fake_data.electra", "", "electra.py", "__init__"):
        with pytest.raises(fake_data.BatchError, match="unknown model"):
            fake_data.batch_keys(name, "masked_lm")
