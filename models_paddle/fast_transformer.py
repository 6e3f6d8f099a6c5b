"""Fast Transformer (Fastformer as lucidrains wrote it, with a classifier as ported to Paddle), in PaddlePaddle.

Additive attention in linear time (Wu et al., 2021: "Fastformer: Additive Attention Can Be All You Need"), in a pre-norm
transformer. It shares no checkpoint with the authors' own Fastformer (see `fastformer`). What is peculiar to it:

- No query meets a key. The queries of a head are pooled into one, which multiplies every key; what the keys then weigh
  is pooled into one, which multiplies every value. The global key pools the *raw* keys, where the paper pools their
  products with the global query.
- The projections to the scores, a single vector per head width, are one tensor for all layers.
- The queries are added to what comes out. There is no dropout, but for one in front of the classifier's pooler.
- Positions are learned, or else rotary: half of each head is turned, in pairs of neighbours; scores are made of what is
  not turned, pooled is what is; and products are summed in pairs, which halves the width of a head.
- Only the language model has a norm after the last layer.

Modules and parameters bear the names of both ports, so `to_logits` stands at the root and the classifier's body in
`fastformer_model`. In shapes: B batch, L length, D width, H heads, d head width, V vocabulary, C classes. In an
attention mask 1 is a token, 0 padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn.initializer import Normal, Uniform

IGNORED = -100  # the label of what no loss counts
Ids = Tensor | None  # ids, masks and labels that may be left out
Tables = tuple[Tensor, Tensor]  # sines and cosines of the rotary positions


@dataclass(frozen=True)
class FastTransformerConfig:
    """Every option, under lucidrains' names; the defaults are his, `dropout` and `num_labels` the classifier's.

    `absolute_pos_emb`: learned positions; else `rotary_pos_emb`: rotary ones; without either there are none, which is
    what the Paddle port has in place of rotary ones. `pool_padding`: the classifier's pooler counts padding too, as in
    the Paddle port. Raises ValueError for an unsupported value.
    """

    num_tokens: int = 20000
    dim: int = 512
    depth: int = 2
    max_seq_len: int = 4096
    heads: int = 8
    dim_head: int = 64
    ff_mult: int = 4
    absolute_pos_emb: bool = False
    rotary_pos_emb: bool = True
    layer_norm_eps: float = 1e-5
    pad_token_id: int = 0
    dropout: float = 0.2
    num_labels: int = 5
    pool_padding: bool = False
    problem_type: str | None = None  # None: regression where num_labels is 1

    def __post_init__(self) -> None:
        supported = {
            "pad_token_id": self.pad_token_id in range(self.num_tokens),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})
        if self.rotary and self.dim_head % 4 != 0:
            raise ValueError(f"dim_head {self.dim_head} is not a multiple of 4, which rotary positions need")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> FastTransformerConfig:
        """Read the contents of a `config.json`.

        Raises ValueError("unsupported: {…}") for unknown keys and for values that ask for another function.
        """
        names = {field.name for field in fields(cls)}
        options = {key: value for key, value in raw.items() if key in names}
        others = {key: value for key, value in raw.items() if key not in names | _HARMLESS}
        _refuse({key: value for key, value in others.items() if key not in _FIXED or value != _FIXED[key]})
        labels = {"num_labels": len(raw["id2label"])} if raw.get("id2label") else {}
        return cls(**labels | options)

    @property
    def rotary(self) -> bool:
        """Whether positions are rotary."""
        return self.rotary_pos_emb and not self.absolute_pos_emb

    @property
    def regression(self) -> bool:
        """Whether the sequence classifier predicts a number."""
        return self.problem_type == "regression" or (self.problem_type is None and self.num_labels == 1)


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {"model_type": "fast_transformer"}  # keys of a config.json that have one value here
_HARMLESS = frozenset({  # keys that leave the function alone
    "_name_or_path", "architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version",
})

VARIANTS = {
    "tiny": {"num_tokens": 197, "dim": 36, "depth": 3, "max_seq_len": 52, "heads": 3, "dim_head": 20, "ff_mult": 2},
    "example": {"absolute_pos_emb": True},
    "example-rotary": {},
    "amazon": {"num_tokens": 77053, "max_seq_len": 512, "absolute_pos_emb": True},
}
# fmt: on

TASKS = {
    "masked_lm": "FastTransformerForMaskedLM",
    "sequence_classification": "FastTransformerForSequenceClassification",
    "backbone": "FastTransformerModel",
}


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A Linear that starts as torch's own does: weight and bias uniform in ±1/√inputs (Paddle's: Xavier, and zero)."""
    bound = inputs**-0.5
    initial = ParamAttr(initializer=Uniform(-bound, bound))
    return nn.Linear(inputs, outputs, weight_attr=initial, bias_attr=initial if bias else False)


def embedding(size: int, width: int) -> nn.Embedding:
    """A table (size, width) that starts as torch's own does: from N(0, 1)."""
    return nn.Embedding(size, width, weight_attr=ParamAttr(initializer=Normal()))


class RotaryTables(nn.Layer):
    """Sines and cosines of positions × frequencies 10000^(−2i/r), r = d/2: each (L, r/2). It has no parameters."""

    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__()
        self.width = config.dim_head // 2

    def forward(self, hidden: Tensor) -> Tables:
        """Of the positions in `hidden` (B, L, D), rounded to its dtype last."""
        frequencies = [10000 ** (-2 * i / self.width) for i in range(self.width // 2)]
        positions = paddle.arange(hidden.shape[1], dtype="float64")
        angles = positions[:, None] * paddle.to_tensor(frequencies, dtype="float64")
        return angles.sin().astype(hidden.dtype), angles.cos().astype(hidden.dtype)


def rotate(x: Tensor, tables: Tables) -> Tensor:
    """Turn the first r features of each head of x (B, L, H, d), in pairs of neighbours; the others pass."""
    sin, cos = (table[:, None] for table in tables)  # (L, 1, r/2)
    turning, rest = x.split([2 * sin.shape[-1], x.shape[-1] - 2 * sin.shape[-1]], axis=-1)
    even, odd = turning[..., ::2], turning[..., 1::2]
    turned = paddle.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)  # (B, L, H, r/2, 2)
    return paddle.concat([turned.flatten(-2), rest], axis=-1)


class FastAttention(nn.Layer):
    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads, self.scale = config.heads, config.dim_head**-0.5
        self.to_qkv = linear(config.dim, 3 * inner, bias=False)
        product = config.dim_head // 2 if config.rotary else config.dim_head
        self.to_q_attn_logits = linear(config.dim_head, 1, bias=False)
        self.to_k_attn_logits = linear(product, 1, bias=False)
        self.softmax = nn.Softmax(axis=-1)
        self.to_r = linear(product, config.dim_head)
        self.to_out = linear(inner, config.dim)

    def forward(self, x: Tensor, mask: Tensor, tables: Tables | None = None) -> Tensor:
        """x is (B, L, D), the mask (B, 1, L) is added to the scores, `tables` are those of rotary positions."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.to_qkv(x).chunk(3, axis=-1))  # (B, L, H, d)
        turned_q, turned_k, turned_v = (q, k, v) if tables is None else (rotate(part, tables) for part in (q, k, v))
        global_q = self.pool(turned_q, self.to_q_attn_logits(q), mask)  # (B, 1, H, d)
        # global vectors spread: Paddle broadcasts in a slow loop
        products = k * global_q.expand_as(k)
        products = products if tables is None else sum_pairs(products)
        global_k = self.pool(turned_k, self.to_k_attn_logits(products), mask)  # (B, 1, H, d)
        u = turned_v * global_k.expand_as(turned_v)
        u = u if tables is None else sum_pairs(u)
        return self.to_out((self.to_r(u) + q).flatten(2))  # (B, L, H, d) → (B, L, D)

    def pool(self, states: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        """The states (B, L, H, d), weighed by softmax over their scores (B, L, H, 1): (B, 1, H, d)."""
        weights = self.softmax(scores.squeeze(-1).transpose([0, 2, 1]) * self.scale + mask)  # (B, H, L)
        return (weights.unsqueeze(2) @ states.transpose([0, 2, 1, 3])).transpose([0, 2, 1, 3])


def sum_pairs(x: Tensor) -> Tensor:
    """The sums of neighbours in the last axis: (…, d) → (…, d/2)."""
    return x[..., ::2] + x[..., 1::2]


class PreNorm(nn.Layer):
    """fn(LayerNorm(x), …)."""

    def __init__(self, config: FastTransformerConfig, fn: nn.Layer) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim, epsilon=config.layer_norm_eps)
        self.fn = fn

    def forward(self, x: Tensor, *others: Any) -> Tensor:
        return self.fn(self.norm(x), *others)


class FastTransformerLayer(nn.LayerList):
    """Attention, then feed-forward, each with its norm and its residual. They go by number, as in the ports."""

    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__([PreNorm(config, FastAttention(config)), PreNorm(config, feed_forward(config))])

    def forward(self, x: Tensor, mask: Tensor, tables: Tables | None = None) -> Tensor:
        attention, feed = self
        x = attention(x, mask, tables) + x
        return feed(x) + x

    def share(self, other: FastTransformerLayer) -> None:
        """Have the projections to the scores of `other` in place of these."""
        own: Any = self[0].fn
        shared: Any = other[0].fn
        own.to_q_attn_logits.weight = shared.to_q_attn_logits.weight
        own.to_k_attn_logits.weight = shared.to_k_attn_logits.weight


def feed_forward(config: FastTransformerConfig) -> nn.Sequential:
    inner = config.ff_mult * config.dim
    return nn.Sequential(linear(config.dim, inner), nn.GELU(), linear(inner, config.dim))


class FastTransformerModel(nn.Layer):
    """The layers, without a norm after the last."""

    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__()
        self.pad_token_id = config.pad_token_id
        self.token_emb = embedding(config.num_tokens, config.dim)
        self.abs_pos_emb = embedding(config.max_seq_len, config.dim) if config.absolute_pos_emb else None
        self.rotary_tables = RotaryTables(config) if config.rotary else None
        layers = [FastTransformerLayer(config) for _ in range(config.depth)]
        for layer in layers[1:]:
            layer.share(layers[0])
        self.layers = nn.LayerList(layers)

    def forward(self, input_ids: Tensor, attention_mask: Ids = None) -> dict[str, Tensor]:
        """Ids and mask are (B, L). Returns "last_hidden_state" (B, L, D)."""
        return {"last_hidden_state": self.encode(input_ids, self.mask(input_ids, attention_mask))}

    def mask(self, input_ids: Tensor, attention_mask: Ids) -> Tensor:
        """The mask (B, L); where there is none, all that is not the pad token counts, as in the ports."""
        return (input_ids != self.pad_token_id).astype("int64") if attention_mask is None else attention_mask

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.token_emb(input_ids)  # (B, L) → (B, L, D)
        if self.abs_pos_emb is not None:
            x = x + self.abs_pos_emb(paddle.arange(x.shape[1]))
        tables = None if self.rotary_tables is None else self.rotary_tables(x)
        padding = 1.0 - attention_mask[:, None, :].astype(x.dtype)  # (B, 1, L)
        mask = padding * paddle.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask, tables)
        return x


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


def with_loss(logits: Tensor, labels: Ids, loss: nn.Layer) -> dict[str, Tensor]:
    return {"logits": logits} if labels is None else {"logits": logits, "loss": loss(logits, labels)}


class FastTransformerForMaskedLM(FastTransformerModel):
    """A score for each word at each token, untied. Labels (B, L), −100 ignored; logits (B, L, V)."""

    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__(config)
        norm = nn.LayerNorm(config.dim, epsilon=config.layer_norm_eps)
        self.to_logits = nn.Sequential(norm, linear(config.dim, config.num_tokens))
        self.loss = CrossEntropy()

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, labels: Ids = None) -> dict[str, Tensor]:
        """Ids and mask are (B, L). Returns "logits" and, given labels, the scalar "loss"."""
        hidden = self.encode(input_ids, self.mask(input_ids, attention_mask))
        return with_loss(self.to_logits(hidden), labels, self.loss)


class AttentionPooling(nn.Layer):
    """Σ α·x with α = exp(e) / (Σ exp(e) + 1e-8) and e = att_fc2(tanh(att_fc1(x))), over the tokens."""

    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__()
        self.att_fc1 = linear(config.dim, config.dim)
        self.tanh = nn.Tanh()
        self.att_fc2 = linear(config.dim, 1)

    def forward(self, x: Tensor, attention_mask: Ids) -> Tensor:
        """x is (B, L, D), the mask (B, L) or None to count all. Returns (B, D), zero where nothing counts.

        The fraction is reduced by the largest exp(e), which alone may be infinite.
        """
        scores = self.att_fc2(self.tanh(self.att_fc1(x))).squeeze(-1)  # (B, L)
        if attention_mask is not None:
            padding = 1.0 - attention_mask.astype(scores.dtype)
            scores = scores + padding * paddle.finfo(scores.dtype).min
        most = scores.detach().amax(-1, keepdim=True)
        weights = (scores - most).exp()
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-8 * (-most).exp())
        return (weights.unsqueeze(1) @ x).squeeze(1)  # (B, 1, L) · (B, L, D)


class FastTransformerPooled(FastTransformerModel):
    """The layers, dropout, and one vector for the sequence."""

    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__(config)
        self.pool_padding = config.pool_padding
        self.dropout = nn.Dropout(config.dropout)
        self.pooler = AttentionPooling(config)

    def forward(self, input_ids: Tensor, attention_mask: Ids = None) -> Tensor:  # type: ignore[override]
        mask = self.mask(input_ids, attention_mask)
        hidden = self.dropout(self.encode(input_ids, mask))
        return self.pooler(hidden, None if self.pool_padding else mask)  # (B, L, D) → (B, D)


class FastTransformerForSequenceClassification(nn.Layer):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C)."""

    def __init__(self, config: FastTransformerConfig) -> None:
        super().__init__()
        self.fastformer_model = FastTransformerPooled(config)
        self.dense_linear = linear(config.dim, config.num_labels)
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, labels: Ids = None) -> dict[str, Tensor]:
        """Ids and mask are (B, L). Returns "logits" and, given labels, the scalar "loss"."""
        logits = self.dense_linear(self.fastformer_model(input_ids, attention_mask))
        return with_loss(logits, labels, self.loss)
