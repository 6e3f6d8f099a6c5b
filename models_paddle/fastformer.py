"""Fastformer (Wu et al., 2021: "Additive Attention Can Be All You Need"), the authors' own, in PaddlePaddle.

Additive attention in linear time, in a post-norm BERT encoder. It shares no checkpoint with lucidrains' version (see
`fast_transformer`). What is peculiar to it:

- No query meets a key. The queries of a head are pooled into one, which multiplies every key; these products are pooled
  into one, which multiplies every query: queries are the values too.
- The scores of all heads come from one Linear over the whole width, with a bias that softmax takes out again.
- There are no token types. Attention has no dropout, and padding loses 10000 in its scores.
- A pooler weighs the tokens additively. Its weights need not add up to 1, and are all 0 where nothing is attended.

Modules and parameters bear the authors' names, so the positions and their norm stand in the encoder, and all of it in
`fastformer_model`. In shapes: B batch, L length, D hidden width, H heads, d = D/H, C classes. In an attention mask 1 is
a token, 0 padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn.initializer import Normal

IGNORED = -100  # the label of what no loss counts
MASKED = -10000.0  # what a score of padding loses
Ids = Tensor | None  # ids, masks and labels that may be left out

ACTIVATIONS: dict[str, Callable[[], nn.Layer]] = {
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate=True),
    "relu": nn.ReLU,
    "silu": nn.Silu,
    "swish": nn.Silu,
    "tanh": nn.Tanh,
}


def linear(config: FastformerConfig, inputs: int, outputs: int) -> nn.Linear:
    """A Linear as published: weights from a normal, biases zero."""
    return nn.Linear(inputs, outputs, weight_attr=initial(config))


def embedding(config: FastformerConfig, size: int) -> nn.Embedding:
    """A table (size, D). It has no `padding_idx`, which would zero that row in every forward pass."""
    return nn.Embedding(size, config.hidden_size, weight_attr=initial(config))


def initial(config: FastformerConfig) -> ParamAttr:
    return ParamAttr(initializer=Normal(std=config.initializer_range))


def chain(**steps: nn.Layer) -> nn.Sequential:
    """Modules that run one after the other, under the names given."""
    return nn.Sequential(*steps.items())


class FastSelfAttention(nn.Layer):
    def __init__(self, config: FastformerConfig) -> None:
        super().__init__()
        D = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = linear(config, D, D)
        self.query_att = linear(config, D, self.heads)
        self.key = linear(config, D, D)
        self.key_att = linear(config, D, self.heads)
        self.transform = linear(config, D, D)
        self.softmax = nn.Softmax(axis=-1)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The hidden states are (B, L, D), the mask (B, 1, L) is added to the scores."""
        query, key = self.query(hidden), self.key(hidden)
        global_query = self.pool(query, self.query_att(query), mask)  # (B, 1, D)
        # global vectors spread: Paddle broadcasts in a slow loop
        products = key * global_query.expand_as(key)  # (B, L, D)
        global_key = self.pool(products, self.key_att(products), mask)  # (B, 1, D)
        return self.transform(query * global_key.expand_as(query)) + query

    def pool(self, states: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        """The states (B, L, D), weighed in each head by softmax over their scores (B, L, H): (B, 1, D)."""
        heads = states.unflatten(-1, (self.heads, -1)).transpose([0, 2, 1, 3])  # (B, H, L, d)
        weights = self.softmax(scores.transpose([0, 2, 1]) / math.sqrt(heads.shape[-1]) + mask)  # (B, H, L)
        return (weights.unsqueeze(2) @ heads).transpose([0, 2, 1, 3]).flatten(2)  # (B, H, 1, d) → (B, 1, D)


class FastformerResidual(nn.Layer):
    """LayerNorm(residual + dropout(dense(x))): the end of both sublayers."""

    def __init__(self, config: FastformerConfig, inputs: int) -> None:
        super().__init__()
        self.dense = linear(config, inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class FastAttention(nn.Layer):
    def __init__(self, config: FastformerConfig) -> None:
        super().__init__()
        self.self = FastSelfAttention(config)
        self.output = FastformerResidual(config, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(hidden, mask), hidden)


class FastformerLayer(nn.Layer):
    def __init__(self, config: FastformerConfig) -> None:
        super().__init__()
        self.attention = FastAttention(config)
        self.intermediate = chain(
            dense=linear(config, config.hidden_size, config.intermediate_size),
            intermediate_act_fn=ACTIVATIONS[config.hidden_act](),
        )
        self.output = FastformerResidual(config, config.intermediate_size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.attention(hidden, mask)
        return self.output(self.intermediate(hidden), hidden)


class AttentionPooling(nn.Layer):
    """Σ α·x with α = exp(e) / (Σ exp(e) + 1e-8) and e = att_fc2(tanh(att_fc1(x))), over the tokens."""

    def __init__(self, config: FastformerConfig) -> None:
        super().__init__()
        self.att_fc1 = linear(config, config.hidden_size, config.hidden_size)
        self.tanh = nn.Tanh()
        self.att_fc2 = linear(config, config.hidden_size, 1)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """x is (B, L, D), the mask (B, L). Returns (B, D), zero where nothing is attended.

        The fraction is reduced by the largest exp(e), which alone may be infinite.
        """
        scores = self.att_fc2(self.tanh(self.att_fc1(x))).squeeze(-1)  # (B, L)
        padding = 1.0 - attention_mask.astype(scores.dtype)
        scores = scores + padding * paddle.finfo(scores.dtype).min
        most = scores.detach().amax(-1, keepdim=True)
        weights = (scores - most).exp()
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-8 * (-most).exp())
        return (weights.unsqueeze(1) @ x).squeeze(1)  # (B, 1, L) · (B, L, D)


class FastformerEncoder(nn.Layer):
    """Learned positions → LayerNorm → dropout → layers → pooler."""

    def __init__(self, config: FastformerConfig) -> None:
        super().__init__()
        self.position_embeddings = embedding(config, config.max_position_embeddings)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.encoders = nn.LayerList([FastformerLayer(config) for _ in range(config.num_hidden_layers)])
        self.poolers = nn.LayerList([AttentionPooling(config)])  # the authors' code has room for more

    def forward(self, words: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Word embeddings (B, L, D) and mask (B, L) → hidden states (B, L, D) and the pooled one (B, D)."""
        positions = paddle.arange(words.shape[1])
        hidden = self.dropout(self.LayerNorm(words + self.position_embeddings(positions)))
        padding = 1.0 - attention_mask[:, None, :].astype(hidden.dtype)  # (B, 1, L)
        mask = padding * MASKED
        for layer in self.encoders:
            hidden = layer(hidden, mask)
        return hidden, self.poolers[0](hidden, attention_mask)


@dataclass(frozen=True)
class FastformerConfig:
    """Every option, under the names of the authors' fastformer.json; the defaults are those of their AG News model.

    Raises ValueError for an unsupported value.
    """

    vocab_size: int = 66818
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 16
    intermediate_size: int = 256
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.2
    max_position_embeddings: int = 256
    pad_token_id: int = 0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    num_labels: int = 4
    problem_type: str | None = None  # None: regression where num_labels is 1

    def __post_init__(self) -> None:
        supported = {
            "hidden_act": self.hidden_act in ACTIVATIONS,
            "pad_token_id": self.pad_token_id in range(self.vocab_size),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of {self.num_attention_heads} heads")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> FastformerConfig:
        """Read the contents of the authors' `fastformer.json` or of a `config.json`.

        Raises ValueError("unsupported: {…}") for unknown keys and for values that ask for another function.
        """
        names = {field.name for field in fields(cls)}
        options = {key: value for key, value in raw.items() if key in names}
        others = {key: value for key, value in raw.items() if key not in names | _HARMLESS}
        _refuse({key: value for key, value in others.items() if key not in _FIXED or value != _FIXED[key]})
        labels = {"num_labels": len(raw["id2label"])} if raw.get("id2label") else {}
        return cls(**labels | options)

    @property
    def regression(self) -> bool:
        """Whether the sequence classifier predicts a number."""
        return self.problem_type == "regression" or (self.problem_type is None and self.num_labels == 1)


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {"model_type": "fastformer", "pooler_type": "weightpooler"}  # keys that have one value here
_HARMLESS = frozenset({  # keys that leave the function alone; the authors' code reads neither of the first three
    "attention_probs_dropout_prob", "enable_fp16", "type_vocab_size", "_name_or_path", "architectures", "dtype",
    "id2label", "label2id", "torch_dtype", "transformers_version",
})

VARIANTS = {
    "tiny": {"vocab_size": 193, "hidden_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
             "intermediate_size": 56, "max_position_embeddings": 52, "num_labels": 5},
    "ag-news": {},
    "published": {"vocab_size": 100000},
}
# fmt: on

TASKS = {
    "sequence_classification": "FastformerForSequenceClassification",
    "backbone": "FastformerModel",
}


class FastformerModel(nn.Layer):
    """Words, the encoder and its pooler. The pad token's row starts at zero."""

    def __init__(self, config: FastformerConfig) -> None:
        super().__init__()
        self.pad_token_id = config.pad_token_id
        self.word_embedding = embedding(config, config.vocab_size)
        self.fastformer_model = FastformerEncoder(config)
        with paddle.no_grad():
            self.word_embedding.weight[config.pad_token_id] = 0.0

    def forward(self, input_ids: Tensor, attention_mask: Ids = None) -> dict[str, Tensor]:
        """Ids and mask are (B, L). Returns "last_hidden_state" (B, L, D) and "pooler_output" (B, D)."""
        hidden, pooled = self.encode(input_ids, attention_mask)
        return {"last_hidden_state": hidden, "pooler_output": pooled}

    def encode(self, input_ids: Tensor, attention_mask: Ids) -> tuple[Tensor, Tensor]:
        """As `forward`; without a mask all that is not the pad token counts, as in the authors' code."""
        if attention_mask is None:
            attention_mask = (input_ids != self.pad_token_id).astype("int64")
        return self.fastformer_model(self.word_embedding(input_ids), attention_mask)


class CrossEntropy(nn.Layer):
    """The mean of −log softmax(logits)[label] over the labels that are not −100; 0 where there are none.

    Written out because Paddle's own function cuts each loss off at 64 and counts ignored labels in its mean.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        kept = labels != IGNORED
        chosen = logits.take_along_axis(paddle.where(kept, labels, 0).unsqueeze(-1), -1).squeeze(-1)
        return mean_of_kept(logits.logsumexp(-1) - chosen, kept)


class SquaredError(nn.Layer):
    """The mean of (logit − label)², for regression."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels.astype(logits.dtype).reshape(logits.shape)).square().mean()


def mean_of_kept(losses: Tensor, kept: Tensor) -> Tensor:
    return paddle.where(kept, losses, paddle.zeros_like(losses)).sum() / kept.sum().clip(min=1).astype(losses.dtype)


class FastformerForSequenceClassification(FastformerModel):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C)."""

    def __init__(self, config: FastformerConfig) -> None:
        super().__init__(config)
        self.dense_linear = linear(config, config.hidden_size, config.num_labels)
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, labels: Ids = None) -> dict[str, Tensor]:
        """Ids and mask are (B, L). Returns "logits" and, given labels, the scalar "loss"."""
        logits = self.dense_linear(self.encode(input_ids, attention_mask)[1])
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}
