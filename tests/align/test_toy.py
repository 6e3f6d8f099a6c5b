"""The whole method on the toy pair: clean is green, every sabotage is red with the right module, every rewrite is a
note.
"""

import copy
import re
import types

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import torch

import align
from align.gates import Gates, Settings
from align.gates.settings import Widened
from tests.align import toy
from tests.pairs import copy_weights, randomise

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def reference():
    return randomise(toy.TorchNet())


@pytest.fixture
def port(reference):
    return copy_weights(reference, toy.PaddleNet())


def override(module, function):
    """Give one live module another forward."""
    module.forward = types.MethodType(function, module)


def scores(mixer, hidden, mask):
    return paddle.matmul(mixer.query(hidden), mixer.key(hidden), transpose_y=True) * mixer.scale + mask


def forward_with_mask(make_mask):
    def forward(self, input_ids, attention_mask):
        mask = make_mask(attention_mask).astype(self.head.weight.dtype).unsqueeze(1)
        hidden = self.embedding(input_ids)
        for _ in range(2):
            hidden = self.block(hidden, mask=mask)
        return {"logits": self.head(hidden), "hidden": (hidden,)}

    return forward


def test_a_clean_pair_is_green_far_under_the_limit(reference, port):
    report = align.compare(reference, port, toy.batch())
    assert report.passed
    assert report.blame == []
    assert report.first_divergence is None
    assert report.stages[0].worst.ratio < 0.01
    assert "PARITY" in str(report)


def test_both_models_are_given_back_as_they_were(reference, port):
    before = {name: value.clone() for name, value in reference.state_dict().items()}
    port.train()
    align.compare(reference, port, toy.batch())
    assert all(torch.equal(value, before[name]) for name, value in reference.state_dict().items())
    assert {str(p.dtype) for p in port.parameters()} == {"paddle.float32"}
    assert port.training
    assert "forward" not in vars(port.block)
    assert paddle.get_default_dtype() == "float32"
    assert torch.get_default_dtype() == torch.float32


def test_a_model_may_keep_what_it_computed_of_another_batch(reference, port):
    """Such an activation is no table that a change of dtype would have to restore."""
    reference = copy.deepcopy(reference)
    override(reference.block.act, lambda self, x: keep(self, torch.nn.functional.gelu(x)))
    rows = {name: value[:2] for name, value in toy.batch().items()}
    reference(**{name: torch.from_numpy(value) for name, value in toy.batch().items()})
    assert align.compare(reference, port, rows, stages=("forward", "backward")).passed
    assert reference.head.weight.dtype == torch.float32


def keep(module, value):
    module.last = value
    return value


def eps(port):
    port.block.norm._epsilon = 1e-8


def mask_sign(port):
    override(port.block.mixer, lambda self, hidden, mask: toy.PaddleMixer.forward(self, hidden, -mask))


def mask_inverted(port):
    override(port, forward_with_mask(lambda mask: mask * -1e9))


def mask_of_minus_10(port):
    override(port, forward_with_mask(lambda mask: (1 - mask) * -10.0))


def softmax_over_queries(port):
    port.block.mixer.softmax._axis = -2


def query_bias_missing(port):
    port.block.mixer.query.bias.set_value(paddle.zeros_like(port.block.mixer.query.bias))


def scale_off_by_one_part_in_a_billion(port):
    port.block.mixer.scale *= 1 + 1e-9


def one_embedding_value(port):
    table = port.embedding.weight.numpy().copy()
    table[int(toy.batch()["input_ids"][0, 1]), 3] += 1e-6
    port.embedding.weight.set_value(table)


def ids_shifted(port):
    override(port, lambda self, ids, mask: toy.PaddleNet.forward(self, (ids + 1) % toy.VOCABULARY, mask))


def output_transposed(port):
    override(port.block.act, lambda self, x: F.gelu(x).transpose([0, 2, 1]))


def output_nan(port):
    override(port.block.act, lambda self, x: F.gelu(x) * float("nan"))


def dropout_active(port):
    override(port.block.act, lambda self, x: F.dropout(F.gelu(x), 0.1))


def raises(port):
    def forward(self, x):
        raise ValueError("sizes do not fit")

    override(port.block.act, forward)


def residual_missing(port):
    override(port.block, lambda self, hidden, *, mask: self.act(self.norm(self.mixer(hidden, mask))))


def input_changed_in_place(port):
    def forward(self, hidden, mask):
        out = toy.PaddleMixer.forward(self, hidden, mask)
        with paddle.no_grad():
            hidden.scale_(2.0)  # the block adds this as its residual
        return out

    override(port.block.mixer, forward)


def output_changed_later(port):
    """No piece is wrong: the head changes what the activation returned, long after."""

    def act(self, x):
        self.last = F.gelu(x)
        return self.last

    def head(self, x):
        logits = F.linear(x, self.weight, self.bias)
        with paddle.no_grad():
            port.block.act.last.scale_(2.0)
        return logits

    override(port.block.act, act)
    override(port.head, head)


def second_call_differs(port):
    port.block.calls = 0

    def forward(self, hidden, *, mask):
        self.calls += 1
        return self.act(self.norm(hidden * (1 if self.calls % 2 else 1 + 1e-10) + self.mixer(hidden, mask)))

    override(port.block, forward)


def output_left_out(port):
    override(port, lambda self, ids, mask: {"logits": toy.PaddleNet.forward(self, ids, mask)["logits"]})


def float16_weight(port):
    weight = port.head.weight
    weight.set_value(weight.numpy().astype(np.float16).astype(np.float32))


def float32_island_of_another_function(port):
    override(port.block.act, lambda self, x: F.gelu(x.astype("float32"), True).astype(x.dtype))


def not_finite_in_float32_alone(port):
    override(port.block.act, lambda self, x: F.gelu(x) * (float("nan") if "32" in str(x.dtype) else 1.0))


SABOTAGE = {
    eps: "block.norm",
    mask_sign: "block.mixer",
    mask_inverted: "<root>",
    mask_of_minus_10: "<root>",
    softmax_over_queries: "block.mixer.softmax",
    query_bias_missing: "block.mixer.query",
    scale_off_by_one_part_in_a_billion: "block.mixer",
    one_embedding_value: "embedding",
    ids_shifted: "<root>",
    output_transposed: "block.act",
    output_nan: "block.act",
    dropout_active: "block.act",
    raises: "block.act",
    residual_missing: "block",
    input_changed_in_place: "block.mixer",
    output_changed_later: "<root>",
    second_call_differs: "block",
    output_left_out: "<root>",
    float16_weight: "head",
    float32_island_of_another_function: "block.act",
    not_finite_in_float32_alone: "block.act",
}


@pytest.mark.parametrize("sabotage", SABOTAGE, ids=lambda f: f.__name__)
def test_sabotage_is_red_and_named(reference, port, sabotage):
    sabotage(port)
    report = align.compare(reference, port, toy.batch())
    assert not report.passed
    assert [finding.module for finding in report.blame] == [SABOTAGE[sabotage]]
    assert SABOTAGE[sabotage] in str(report)
    with pytest.raises(AssertionError, match="NO PARITY"):
        align.assert_parity(reference, port, toy.batch())


def slightly_wrong_and_raises(port):
    def forward(self, hidden, *, mask):
        self.norm(hidden * (1 + 1e-10) + self.mixer(hidden, mask))
        raise ValueError("sizes do not fit")

    override(port.block, forward)


def slightly_wrong_and_not_finite_in_float32(port):
    override(port.block.act, lambda self, x: F.gelu(x) * (float("nan") if "32" in str(x.dtype) else 1 + 1e-10))


def slightly_wrong_and_an_output_left_out(port):
    def forward(self, input_ids, attention_mask):
        least = float(np.finfo("float64").min)
        hidden = self.embedding(input_ids) * (1 + 1e-10)
        mask = (1 - attention_mask).astype(hidden.dtype).unsqueeze(1) * least
        for _ in range(2):
            hidden = self.block(hidden, mask=mask)
        return {"logits": self.head(hidden)}

    override(port, forward)


BESIDES = {
    slightly_wrong_and_raises: "the paddle model raised ValueError",
    slightly_wrong_and_not_finite_in_float32: "in float32, from end to end",
    slightly_wrong_and_an_output_left_out: "only torch has <root>:out.hidden.0",
}


@pytest.mark.parametrize("sabotage", BESIDES, ids=lambda f: f.__name__)
def test_what_is_wrong_besides_a_small_difference_stands_under_wider_limits(reference, port, sabotage):
    sabotage(port)
    red = align.compare(reference, port, toy.batch()).stages[0]
    allowed = Gates(Settings("plumbline.toml", (Widened("*", 1e9, "because"),)))(red)
    assert not red.passed
    assert len(allowed.blame) == 1
    assert BESIDES[sabotage] in allowed.blame[0].why


def mask_of_minus_1e9(port):
    override(port, forward_with_mask(lambda mask: (1 - mask) * -1e9))


def key_bias_missing(port):
    port.block.mixer.key.bias.set_value(paddle.zeros_like(port.block.mixer.key.bias))


def inner_permuted_consistently(port):
    order = np.random.default_rng(0).permutation(toy.INNER)
    for layer in (port.block.mixer.query, port.block.mixer.key):
        layer.weight.set_value(layer.weight.numpy()[:, order])
        layer.bias.set_value(layer.bias.numpy()[order])


def norm_in_float32(port):
    def forward(self, x):
        weight, bias = self.weight.astype("float32"), self.bias.astype("float32")
        return F.layer_norm(x.astype("float32"), [toy.WIDTH], weight, bias, 1e-12).astype(x.dtype)

    override(port.block.norm, forward)


def softmax_in_float32(port):
    def forward(self, hidden, mask):
        probabilities = F.softmax(scores(self, hidden, mask).astype("float32"), -1).astype(hidden.dtype)
        return self.out(paddle.matmul(self.dropout(probabilities), self.value(hidden)))

    override(port.block.mixer, forward)


def softmax_and_dropout_not_called(port):
    def forward(self, hidden, mask):
        return self.out(paddle.matmul(F.softmax(scores(self, hidden, mask), -1), self.value(hidden)))

    override(port.block.mixer, forward)


def norm_by_hand(port):
    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred * paddle.rsqrt((centred * centred).mean(-1, keepdim=True) + 1e-12) * self.weight + self.bias

    override(port.block.norm, forward)


REWRITES = {
    mask_of_minus_1e9: None,
    key_bias_missing: "block.mixer.key: .*harmless: block.mixer agrees",
    inner_permuted_consistently: "block.mixer.query: .*harmless: block.mixer agrees",
    norm_in_float32: "block.norm: .*float32 island",
    softmax_in_float32: "block.mixer: .*float32 island",
    softmax_and_dropout_not_called: "only the torch model has edges at: block.mixer.softmax, block.mixer.dropout",
    norm_by_hand: None,
}


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda f: f.__name__)
def test_harmless_rewrites_pass_with_a_note(reference, port, rewrite):
    rewrite(port)
    report = align.assert_parity(reference, port, toy.batch())
    notes = "\n".join(report.stages[0].notes)
    if REWRITES[rewrite] is None:
        assert notes == ""
    else:
        assert re.search(REWRITES[rewrite], notes)


@pytest.mark.parametrize("value", [-1e4, -1e6])
def test_the_value_of_a_mask_is_judged_by_its_effect(reference, port, value):
    """Any large value will do where a row has a token left; a fully masked row keeps its scores under a small one."""
    override(port, forward_with_mask(lambda mask: (1 - mask) * value))
    align.assert_parity(reference, port, toy.batch())
    report = align.compare(reference, port, toy.batch(shortest=0))
    assert [finding.module for finding in report.blame] == ["<root>"]
    assert "the mask, table or number that it makes" in report.blame[0].why


def test_a_wrong_number_is_traced_to_the_module_that_passes_it(reference, port):
    """Both sides scale what the mixer gets by a number that the block passes, and the port's block passes another."""

    def mixer(self, hidden, mask, scale):
        return type(self).forward(self, hidden * scale, mask)

    def block(scale):
        return lambda self, hidden, *, mask: self.act(self.norm(hidden + self.mixer(hidden, mask, scale)))

    scaled = copy.deepcopy(reference)
    for side, scale in ((scaled, 0.5), (port, 0.501)):
        override(side.block.mixer, mixer)
        override(side.block, block(scale))
    report = align.compare(scaled, port, toy.batch())
    assert [finding.module for finding in report.blame] == ["block"]
    assert "block.mixer:arg0" in report.blame[0].why or "block.mixer@2:arg0" in report.blame[0].why


@pytest.mark.parametrize("sharpness", [1.0, 130.0])
def test_a_wrong_score_among_masked_ones_is_found(reference, sharpness):
    def forward(self, hidden, mask):
        off = paddle.zeros_like(mask).astype(hidden.dtype)
        off[0, 0, 1] = 1e-9 * sharpness
        return toy.PaddleMixer.forward(self, hidden, mask + off)

    reference = copy.deepcopy(reference)
    with torch.no_grad():
        for projection in (reference.block.mixer.query, reference.block.mixer.key):
            projection.weight *= sharpness
    port = copy_weights(reference, toy.PaddleNet())
    assert align.compare(reference, port, toy.batch(shortest=0)).stages[0].notes == []
    override(port.block.mixer, forward)
    report = align.compare(reference, port, toy.batch(shortest=0))
    assert [finding.module for finding in report.blame] == ["block.mixer"]


def test_a_small_bug_is_not_excused_by_the_noise_of_a_composite(reference, port):
    """A composite excuses only what it would have shown: a difference a few times the limit stays a finding."""
    port.block.mixer.value.bias.set_value(port.block.mixer.value.bias.numpy() * (1 + 2.0**-22))
    report = align.compare(reference, port, toy.batch())
    assert [finding.module for finding in report.blame] == ["block.mixer.value"]


def test_the_report_says_what_the_probe_cannot_see(reference, port):
    blind = align.compare(reference, port, toy.batch()).stages[0].blind
    assert "value of a fully masked row" in blind
    assert "attention mask ignored or inverted" not in blind
    full = toy.batch() | {"attention_mask": np.ones((toy.BATCH, toy.LENGTH), np.int64)}
    assert "attention mask ignored or inverted" in align.compare(reference, port, full).stages[0].blind


def test_nothing_to_compare_is_no_parity(reference, port):
    with pytest.raises(align.CannotCompareError, match="batch is empty"):
        align.compare(reference, port, {})


def test_the_reference_that_raises_cannot_be_compared(reference, port):
    with pytest.raises(align.CannotCompareError, match="torch model raised in embedding"):
        align.compare(reference, port, toy.batch() | {"input_ids": np.full((3, 7), toy.VOCABULARY)})
    assert "forward" not in vars(reference.block)


def test_a_reference_that_is_nan_everywhere_proves_nothing(reference, port):
    """NaN agrees with NaN: a comparison of nothing is refused."""
    broken = toy.TorchNet()
    torch.nn.init.constant_(broken.embedding.weight, float("nan"))
    with pytest.raises(align.CannotCompareError, match=r"no finite value in out\.logits"):
        align.compare(broken, copy_weights(broken, port), toy.batch())


def test_a_tensor_shared_on_one_side_only_is_noted(reference, port):
    """The forward passes are the same; the next update would not be."""
    equal = copy.deepcopy(reference)
    equal.block.mixer.key.bias.data.copy_(equal.block.mixer.query.bias.data)
    port.block.mixer.key.bias = port.block.mixer.query.bias
    report = align.assert_parity(equal, port, toy.batch())
    shared = "only the paddle model shares one tensor between block.mixer.key.bias and block.mixer.query.bias"
    assert any(note.startswith(shared) for note in report.stages[0].notes)
