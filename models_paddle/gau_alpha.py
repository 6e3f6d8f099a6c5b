"""GAU-α (Su et al., 2022; after Hua et al., 2022: "Transformer Quality in Linear Time"), in PaddlePaddle.

A post-norm encoder whose layers are gated attention units: one sublayer does the work of attention and of feed-forward.
What is peculiar to it:

- One projection gives u, v (both e wide) and z (s wide). z makes query and key by a scale for each; there is one head,
  and its values v are gated by u: W_o(u ⊙ A v).
- Three ways to normalise the scores a = q·k/√s of a query that may see l keys: softmax(a · ln l / ln 512), called
  softmax_plus; relu(a)² / l; plain softmax.
- Positions enter by rotation only: pairs of neighbours in q and k turn by p · 10000^(−2i/s) at position p.
- The norm divides by the root mean square, with neither mean nor parameters. There are no biases, but in the heads.
- The masked language model's head is the word embedding table, transposed, and nothing else.

Modules and parameters bear the names of the public PyTorch port's checkpoints. In shapes: B batch, L length, D hidden
width, e intermediate width, s width of a key, V vocabulary, C classes or choices. In a mask 1 is a token, 0 padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn.initializer import Constant, Normal, TruncatedNormal

IGNORED = -100  # the label of what no loss counts
Ids = Tensor | None  # ids, masks and labels that may be left out

ACTIVATIONS: dict[str, Callable[[], nn.Layer]] = {
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate=True),
    "relu": nn.ReLU,
    "silu": nn.Silu,
    "swish": nn.Silu,
    "tanh": nn.Tanh,
}


def linear(config: GAUAlphaConfig, inputs: int, outputs: int, bias: bool) -> nn.Linear:
    """A Linear as published, its bias zero."""
    return nn.Linear(inputs, outputs, weight_attr=initial(config, fan=inputs), bias_attr=None if bias else False)


def embedding(config: GAUAlphaConfig, size: int) -> nn.Embedding:
    """A table (size, D). It has no `padding_idx`, which would zero that row in every forward pass."""
    return nn.Embedding(size, config.hidden_size, weight_attr=initial(config, fan=config.hidden_size))


def initial(config: GAUAlphaConfig, fan: int) -> ParamAttr:
    """`fan` is the width that a weight reads, a table's own: see `GAUAlphaConfig.initial_std`."""
    std = config.initial_std(fan)
    if config.initialization == "normal":
        return ParamAttr(initializer=Normal(std=std))
    return ParamAttr(initializer=TruncatedNormal(std=std, a=-2 * std, b=2 * std))  # a, b: absolute, and ±2 unless given


def chain(**steps: nn.Layer) -> nn.Sequential:
    """Modules that run one after the other, under the names given."""
    return nn.Sequential(*steps.items())


class GAUAlphaNorm(nn.Layer):
    """x / √(mean of x² + ε) over the last axis."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * paddle.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


class GAUAlphaEmbeddings(nn.Layer):
    """Word + token type → norm → dropout; bert4keras, in which GAU-α was trained, drops out before the norm."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.word_embeddings = embedding(config, config.vocab_size)
        self.token_type_embeddings = embedding(config, config.type_vocab_size)
        self.norm = GAUAlphaNorm(config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.dropout_before_norm = config.dropout_before_norm
        if config.initialization == "normal":
            with paddle.no_grad():
                self.word_embeddings.weight[config.pad_token_id] = 0.0

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        embedded = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)  # (B, L, D)
        return self.norm(self.dropout(embedded)) if self.dropout_before_norm else self.dropout(self.norm(embedded))


class GAUAlphaScaleOffset(nn.Layer):
    """x · weight, and + bias where the configuration has biases: what makes query and key of one projection."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.weight = self.create_parameter([config.attention_key_size], default_initializer=Constant(1.0))
        self.bias = self.create_parameter([config.attention_key_size], is_bias=True) if config.use_bias else None

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight if self.bias is None else x * self.weight + self.bias


class GAUAlphaPositions(nn.Layer):
    """Sine and cosine of the angles p · 10000^(−2i/s), each (L, s/2), taken in float64 whatever the type wanted."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.size = config.attention_key_size

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        frequencies = [10000.0 ** (-2 * i / self.size) for i in range(self.size // 2)]
        positions = paddle.arange(hidden.shape[1], dtype="float64")
        angles = paddle.outer(positions, paddle.to_tensor(frequencies, dtype="float64"))
        return angles.sin().astype(hidden.dtype), angles.cos().astype(hidden.dtype)


class GAUAlphaRotary(nn.Layer):
    """Turns the pairs (x₀, x₁), (x₂, x₃) … by their angles.

    The turned pairs stay neighbours ("interleaved"), or all first halves come before all second ones ("concatenated"):
    the same products q·k.
    """

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.interleaved = config.rotary_order == "interleaved"

    def forward(self, x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)  # (B, L, s) → twice (B, L, s/2)
        turned = even * cos - odd * sin, even * sin + odd * cos
        return paddle.stack(turned, -1).flatten(-2) if self.interleaved else paddle.concat(turned, -1)  # (B, L, s)


class SquaredReLU(nn.Layer):
    """relu(x)². The division by the number of keys is in the scale of the scores."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x).square()


NORMALIZATIONS: dict[str, Callable[[], nn.Layer]] = {
    "softmax_plus": partial(nn.Softmax, axis=-1),
    "squared_relu": SquaredReLU,
    "softmax": partial(nn.Softmax, axis=-1),
}


class GAUAlphaUnit(nn.Layer):
    """The gated attention unit: W_o(u ⊙ A v), where A normalises the scores scale · q·k + mask."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.widths = [config.intermediate_size, config.intermediate_size, config.attention_key_size]
        self.i_dense = linear(config, config.hidden_size, sum(self.widths), config.use_bias)
        self.activation = ACTIVATIONS[config.hidden_act]()
        self.q_scaleoffset = GAUAlphaScaleOffset(config)
        self.k_scaleoffset = GAUAlphaScaleOffset(config)
        self.rotary = GAUAlphaRotary(config)
        self.normalize = NORMALIZATIONS[config.normalization]()
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.o_dense = linear(config, config.intermediate_size, config.hidden_size, config.use_bias)

    def forward(self, hidden: Tensor, sin: Tensor, cos: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
        u, v, z = self.activation(self.i_dense(hidden)).split(self.widths, -1)  # (B, L, e), (B, L, e), (B, L, s)
        q = self.rotary(self.q_scaleoffset(z), sin, cos) * scale
        k = self.rotary(self.k_scaleoffset(z), sin, cos)
        scores = paddle.matmul(q, k, transpose_y=True)  # (B, L, L)
        # the mask spread: Paddle broadcasts in a slow loop
        attention = self.dropout(self.normalize(scores + mask.expand_as(scores)))
        return self.o_dense(u * (attention @ v))  # (B, L, e) → (B, L, D)


class GAUAlphaLayer(nn.Layer):
    """norm(x + dropout(gau(x)))."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.gau = GAUAlphaUnit(config)
        self.norm = GAUAlphaNorm(config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, sin: Tensor, cos: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
        return self.norm(hidden + self.dropout(self.gau(hidden, sin, cos, scale, mask)))


class GAUAlphaScale(nn.Layer):
    """The factor of the scores, which depends on l, the number of keys that a query may see.

    softmax: 1/√s. softmax_plus: ln l / ln 512 / √s. squared_relu: 1/√(s·l), since relu(a/√l)² = relu(a)²/l. Where there
    is no key, l counts as 1. Without `attention_scale` there is no √s.
    """

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.normalization = config.normalization
        self.root = math.sqrt(config.attention_key_size) if config.attention_scale else 1.0

    def forward(self, mask: Tensor, hidden: Tensor) -> Tensor:
        keys = (
            mask.sum(-1, keepdim=True).clip(min=1).astype(hidden.dtype)
        )  # (B, 1, 1), with a mask (B, L, L): (B, L, 1)
        if self.normalization == "softmax":
            return paddle.ones_like(keys) / self.root
        return (
            keys.log() / (math.log(512) * self.root)
            if self.normalization == "softmax_plus"
            else keys.rsqrt() / self.root
        )


class GAUAlphaEncoder(nn.Layer):
    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.positions = GAUAlphaPositions(config)
        self.scale = GAUAlphaScale(config)
        self.layer = nn.LayerList([GAUAlphaLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """`mask` is (B, 1, L), or (B, L, L) where each query has keys of its own."""
        sin, cos = self.positions(hidden)
        scale = self.scale(mask, hidden)
        padding = (1.0 - mask.astype(hidden.dtype)) * paddle.finfo(hidden.dtype).min
        for layer in self.layer:
            hidden = layer(hidden, sin, cos, scale, padding)
        return hidden


@dataclass(frozen=True)
class GAUAlphaConfig:
    """Every option, under the names of the public PyTorch port; the defaults are the published checkpoint's.

    The last four are ours: the order of turned pairs (see GAUAlphaRotary); where the embeddings drop out; the
    initialisation, "bert4keras" or the port's "normal"; and whether heads have a bias, as in the port but not in
    PaddleNLP. Nothing bounds the length: `max_position_embeddings` is what the checkpoint was trained with.
    Raises ValueError for an unsupported value.
    """

    vocab_size: int = 12000
    hidden_size: int = 768
    embedding_size: int | None = None  # None: hidden_size, and no other is supported
    intermediate_size: int = 1536
    attention_key_size: int = 128
    num_hidden_layers: int = 24
    hidden_act: str = "swish"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = 0.1  # None: hidden_dropout_prob
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0
    initializer_range: float = 0.02  # of the port's initialisation
    layer_norm_eps: float = 1e-12
    normalization: str = "softmax_plus"
    attention_scale: bool = True
    use_bias: bool = False
    num_labels: int = 2
    problem_type: str | None = None  # None: regression where num_labels is 1
    rotary_order: str = "interleaved"
    dropout_before_norm: bool = False
    initialization: str = "bert4keras"
    classifier_bias: bool = True

    def __post_init__(self) -> None:
        supported = {
            "hidden_act": self.hidden_act in ACTIVATIONS,
            "embedding_size": self.embedding_size in (None, self.hidden_size),
            "attention_key_size": self.attention_key_size % 2 == 0,
            "pad_token_id": self.pad_token_id in range(self.vocab_size),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
            "normalization": self.normalization in NORMALIZATIONS,
            "rotary_order": self.rotary_order in ("interleaved", "concatenated"),
            "initialization": self.initialization in ("bert4keras", "normal"),
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> GAUAlphaConfig:
        """Read the contents of a `config.json` of the public port.

        Raises ValueError("unsupported: {…}") for unknown keys and for values that ask for another function.
        """
        names = {field.name for field in fields(cls)}
        options = {key: value for key, value in raw.items() if key in names}
        others = {key: value for key, value in raw.items() if key not in names | _HARMLESS}
        _refuse({key: value for key, value in others.items() if key not in _FIXED or value != _FIXED[key]})
        labels = {"num_labels": len(raw["id2label"])} if raw.get("id2label") else {}
        return cls(**labels | options)

    @property
    def head_dropout(self) -> float:
        """The dropout probability of the classification heads."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def regression(self) -> bool:
        """Whether the sequence classifier predicts a number."""
        return self.problem_type == "regression" or (self.problem_type is None and self.num_labels == 1)

    def initial_std(self, fan: int) -> float:
        """The standard deviation of a fresh weight that reads `fan` numbers; of a table `fan` is the width.

        bert4keras: σ = 1.13684723 / √fan · (layers)^(−1/3), cut off at ±2σ; the constant makes up for the cut. It takes
        the first axis of a kernel for the fan, and the second if the first is below 10 or above 10000, which is to say
        of tables; a table between these would get its number of rows there, here it gets its width like the others.
        """
        if self.initialization == "normal":
            return self.initializer_range
        return 1.13684723 / math.sqrt(fan) * self.num_hidden_layers ** (-1 / 3)


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {  # keys of a config.json that have one value here: any other would be another function
    "model_type": "gau_alpha", "is_decoder": False, "is_encoder_decoder": False, "add_cross_attention": False,
    "tie_encoder_decoder": False, "tie_word_embeddings": True, "pruned_heads": {}, "summary_type": "first",
    "summary_use_proj": False, "summary_activation": None, "summary_first_dropout": 0, "summary_last_dropout": 0,
}
_HARMLESS = frozenset({  # keys that leave the function alone: book-keeping, outputs, memory, generation, PaddleNLP's
    "_attn_implementation_autoset", "_name_or_path", "_num_labels", "architectures", "dtype", "finetuning_task",
    "id2label", "label2id", "prefix", "task_specific_params", "tf_legacy_loss", "tokenizer_class", "torch_dtype",
    "torchscript", "transformers_version", "use_bfloat16", "output_attentions", "output_hidden_states", "return_dict",
    "use_cache", "chunk_size_feed_forward", "cross_attention_hidden_size", "gradient_checkpointing", "bos_token_id",
    "eos_token_id", "sep_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "length_penalty", "max_length", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "temperature", "top_k",
    "top_p", "typical_p", "summary_proj_to_labels", "num_attention_heads", "task_id", "task_type_vocab_size",
    "use_task_id", "pool_act", "fuse",
})

VARIANTS = {
    "tiny": {"vocab_size": 211, "hidden_size": 40, "intermediate_size": 56, "attention_key_size": 64,
             "num_hidden_layers": 3, "max_position_embeddings": 48, "num_labels": 5},
    "base": {},
}
# fmt: on

TASKS = {
    "masked_lm": "GAUAlphaForMaskedLM",
    "sequence_classification": "GAUAlphaForSequenceClassification",
    "token_classification": "GAUAlphaForTokenClassification",
    "question_answering": "GAUAlphaForQuestionAnswering",
    "multiple_choice": "GAUAlphaForMultipleChoice",
    "backbone": "GAUAlphaModel",
}


class GAUAlphaModel(nn.Layer):
    """The encoder."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.pad_token_id = config.pad_token_id
        self.embeddings = GAUAlphaEmbeddings(config)
        self.encoder = GAUAlphaEncoder(config)

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None) -> dict[str, Tensor]:
        """Ids and types are (B, L). Returns "last_hidden_state" (B, L, D).

        The mask is (B, L), or (B, L, L) with a row for each query; without it every id but `pad_token_id` is a token.
        """
        hidden = self.embeddings(input_ids, token_type_ids)
        mask = (input_ids != self.pad_token_id).astype("int64") if attention_mask is None else attention_mask
        return {"last_hidden_state": self.encoder(hidden, mask[:, None, :] if mask.ndim == 2 else mask)}


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


class GAUAlphaHead(nn.Layer):
    """What the models with a head have in common; they add `score`, from hidden states to logits, and `loss`."""

    loss: nn.Layer

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.gau_alpha = GAUAlphaModel(config)

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        """Ids, mask and types as in GAUAlphaModel. Returns "logits" and, given labels, the scalar "loss"."""
        logits = self.score(self.gau_alpha(input_ids, attention_mask, token_type_ids)["last_hidden_state"])
        return self.outputs(logits, labels)

    def outputs(self, logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}

    def score(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError


class GAUAlphaDecoder(nn.Layer):
    """A score for each word. `weight` (V, D) is the word embedding table itself."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.weight = table

    def forward(self, x: Tensor) -> Tensor:
        return paddle.matmul(x, self.weight, transpose_y=True)  # (B, L, D) → (B, L, V)


class GAUAlphaForMaskedLM(GAUAlphaHead):
    """Labels (B, L): the original word where one is to be predicted, else −100. Logits (B, L, V)."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__(config)
        self.cls = chain(predictions=chain(decoder=GAUAlphaDecoder(self.gau_alpha.embeddings.word_embeddings.weight)))
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.cls(hidden)


class GAUAlphaForSequenceClassification(GAUAlphaHead):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C).

    The public port declares the dropout of this head but never applies it.
    """

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, config.num_labels, config.classifier_bias)
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden[:, 0]))  # (B, D) → (B, C)


class GAUAlphaForTokenClassification(GAUAlphaHead):
    """One class for each token. Labels (B, L), −100 ignored; logits (B, L, C)."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, config.num_labels, config.classifier_bias)
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden))


class GAUAlphaForQuestionAnswering(nn.Layer):
    """Where an answer starts and ends: two logits per token, whatever `num_labels` is."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__()
        self.gau_alpha = GAUAlphaModel(config)
        self.qa_outputs = linear(config, config.hidden_size, 2, config.classifier_bias)
        self.loss = CrossEntropy()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Ids = None,
        token_type_ids: Ids = None,
        start_positions: Ids = None,
        end_positions: Ids = None,
    ) -> dict[str, Tensor]:
        """Positions (B,), −100 ignored. Returns "start_logits" and "end_logits" (B, L), given both positions "loss"."""
        hidden = self.gau_alpha(input_ids, attention_mask, token_type_ids)["last_hidden_state"]
        start_logits, end_logits = self.qa_outputs(hidden).unbind(-1)  # (B, L, 2) → twice (B, L)
        outputs = {"start_logits": start_logits, "end_logits": end_logits}
        if start_positions is not None and end_positions is not None:
            outputs["loss"] = (self.loss(start_logits, start_positions) + self.loss(end_logits, end_positions)) / 2
        return outputs


class GAUAlphaForMultipleChoice(GAUAlphaHead):
    """One of C sequences. Ids, mask and types (B, C, L), labels (B,), logits (B, C)."""

    def __init__(self, config: GAUAlphaConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, 1, config.classifier_bias)
        self.loss = CrossEntropy()

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        flat = (None if ids is None else ids.flatten(0, 1) for ids in (input_ids, attention_mask, token_type_ids))
        logits = self.score(self.gau_alpha(*flat)["last_hidden_state"]).reshape(
            input_ids.shape[:2]
        )  # (B·C, 1) → (B, C)
        return self.outputs(logits, labels)

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden[:, 0]))
