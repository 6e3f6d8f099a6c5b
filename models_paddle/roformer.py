"""RoFormer (Su et al., 2021: "RoFormer: Enhanced Transformer with Rotary Position Embedding"), in PaddlePaddle.

A post-norm BERT encoder without position embeddings. What is peculiar to it:

- Every query and key is turned by its position m: the pair (x₂ᵢ, x₂ᵢ₊₁) of a head, taken as a complex number, is
  multiplied by exp(i·m·10000^(−2i/d)), so that q·k depends on the distance of the two only. `rotary_value` turns the
  values too. The angles are computed, in float64: there is nothing to save, and no bound on the length.
- Embeddings of another width than the hidden one are normalised first and then projected.
- transformers' models have no pooler. PaddleNLP's have (`pool_act`), and so do the checkpoints of RoFormer-Sim, whose
  sentence vector it makes; PaddleNLP's sentence heads read it where transformers' have a layer of their own.
- transformers' multiple choice reads the *last* position as it stands, padding or not, unless `summary_type` and the
  options beside it say otherwise.

Modules and parameters bear the names of transformers' checkpoints. In shapes: B batch, L length, D hidden width,
E embedding width, H heads, d = D/H, V vocabulary, C classes or choices. In an attention mask 1 is a token, 0 padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn.initializer import TruncatedNormal

IGNORED = -100  # the label of what no loss counts
WIDER = {paddle.float16: paddle.float32, paddle.bfloat16: paddle.float32}  # where there are complex numbers
Ids = Tensor | None  # ids, masks and labels that may be left out

ACTIVATIONS: dict[str, Callable[[], nn.Layer]] = {
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate=True),
    "relu": nn.ReLU,
    "silu": nn.Silu,
    "swish": nn.Silu,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
}

SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {  # (B, L, D) → (B, D)
    "last": lambda hidden: hidden[:, -1],
    "first": lambda hidden: hidden[:, 0],
    "mean": lambda hidden: hidden.mean(1),
}


def linear(config: RoFormerConfig, inputs: int, outputs: int) -> nn.Linear:
    """A Linear as published: weights from a normal cut off at two standard deviations, biases zero."""
    return nn.Linear(inputs, outputs, weight_attr=initial(config))


def embedding(config: RoFormerConfig, size: int) -> nn.Embedding:
    """A table (size, E). It has no `padding_idx`, which would zero that row in every forward pass."""
    return nn.Embedding(size, config.embedding_width, weight_attr=initial(config))


def initial(config: RoFormerConfig) -> ParamAttr:
    std = config.initializer_range
    return ParamAttr(initializer=TruncatedNormal(std=std, a=-2 * std, b=2 * std))  # a, b: absolute, and ±2 unless given


def chain(**steps: nn.Layer) -> nn.Sequential:
    """Modules that run one after the other, under the names given."""
    return nn.Sequential(*steps.items())


class RoFormerEmbeddings(nn.Layer):
    """Word + token type → LayerNorm → dropout. The pad token's row starts at zero."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.word_embeddings = embedding(config, config.vocab_size)
        self.token_type_embeddings = embedding(config, config.type_vocab_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_width, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        with paddle.no_grad():
            self.word_embeddings.weight[config.pad_token_id] = 0.0

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        embedded = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)  # (B, L, E)
        return self.dropout(self.LayerNorm(embedded))


class RoFormerPositions(nn.Layer):
    """cos and sin of the angle m·10000^(−2i/d) by which position m turns pair i of a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, hidden: Tensor) -> Tensor:
        """For the L positions of `hidden` (B, L, D): (L, d/2, 2), in float32 or wider."""
        frequencies = [10000.0 ** (-place / self.width) for place in range(0, self.width, 2)]
        positions = paddle.arange(hidden.shape[1], dtype="float64")
        angles = positions[:, None] * paddle.to_tensor(frequencies, dtype="float64")
        turns = paddle.stack([angles.cos(), angles.sin()], axis=-1)
        return turns.astype(WIDER.get(hidden.dtype, hidden.dtype))


class RoFormerRotary(nn.Layer):
    """Each pair of a head, as a complex number, times its position's."""

    def forward(self, states: Tensor, turns: Tensor) -> Tensor:
        """`states` (B, L, H, d), `turns` (L, d/2, 2); half precision, which has no complex numbers, is widened."""
        pairs = paddle.as_complex(states.astype(turns.dtype).unflatten(-1, (-1, 2)))  # (B, L, H, d/2)
        turns = turns[:, None].expand([-1, states.shape[2], -1, -1])  # (L, H, d/2, 2)
        # a table for every head: Paddle is slow where other axes than the first are to be broadcast
        turned = pairs * paddle.as_complex(turns)
        return paddle.as_real(turned).flatten(-2).astype(states.dtype)


class RoFormerSelfAttention(nn.Layer):
    """softmax(q·k / √d + mask) · v in each head; q and k are turned by their positions, and v where the option is."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.rotary_value = config.rotary_value
        self.query = linear(config, config.hidden_size, config.hidden_size)
        self.key = linear(config, config.hidden_size, config.hidden_size)
        self.value = linear(config, config.hidden_size, config.hidden_size)
        self.rotary = RoFormerRotary()
        self.softmax = nn.Softmax(axis=-1)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, hidden: Tensor, mask: Tensor, turns: Tensor) -> Tensor:
        q, k, v = (self.split(project(hidden)) for project in (self.query, self.key, self.value))
        q, k = self.rotary(q, turns), self.rotary(k, turns)
        if self.rotary_value:
            v = self.rotary(v, turns)
        q, k, v = (paddle.stack(states.unbind(2), axis=1) for states in (q / math.sqrt(q.shape[-1]), k, v))
        scores = paddle.matmul(q, k, transpose_y=True)  # (B, H, L, d) twice → (B, H, L, L)
        # the mask spread, heads as slices: Paddle broadcasts in a slow loop, and copies transposed views in another
        context = self.dropout(self.softmax(scores + mask.expand_as(scores))) @ v  # (B, H, L, d)
        return paddle.concat(context.unbind(1), axis=-1)  # (B, L, D)

    def split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1))  # (B, L, D) → (B, L, H, d)


class RoFormerResidual(nn.Layer):
    """LayerNorm(residual + dropout(dense(x))): the end of both sublayers."""

    def __init__(self, config: RoFormerConfig, inputs: int) -> None:
        super().__init__()
        self.dense = linear(config, inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class RoFormerAttention(nn.Layer):
    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.self = RoFormerSelfAttention(config)
        self.output = RoFormerResidual(config, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor, turns: Tensor) -> Tensor:
        return self.output(self.self(hidden, mask, turns), hidden)


class RoFormerLayer(nn.Layer):
    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.attention = RoFormerAttention(config)
        self.intermediate = chain(
            dense=linear(config, config.hidden_size, config.intermediate_size),
            intermediate_act_fn=ACTIVATIONS[config.hidden_act](),
        )
        self.output = RoFormerResidual(config, config.intermediate_size)

    def forward(self, hidden: Tensor, mask: Tensor, turns: Tensor) -> Tensor:
        hidden = self.attention(hidden, mask, turns)
        return self.output(self.intermediate(hidden), hidden)


class RoFormerEncoder(nn.Layer):
    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.embed_positions = RoFormerPositions(config.hidden_size // config.num_attention_heads)
        self.layer = nn.LayerList([RoFormerLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        turns = self.embed_positions(hidden)
        for layer in self.layer:
            hidden = layer(hidden, mask, turns)
        return hidden


@dataclass(frozen=True)
class RoFormerConfig:
    """Every option, under transformers' names; the defaults are those of the base model with words as tokens.

    `embedding_size` None: hidden_size. `classifier_dropout` None: hidden_dropout_prob. `pool_act` names the activation
    of PaddleNLP's pooler, which is also that of its sentence heads; None: no pooler, and transformers' heads.
    `max_position_embeddings` is for libraries that keep a table. Raises ValueError for an unsupported value.
    """

    vocab_size: int = 50000
    embedding_size: int | None = None
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 1536
    type_vocab_size: int = 2
    pad_token_id: int = 0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    rotary_value: bool = False
    tie_word_embeddings: bool = True
    pool_act: str | None = None
    summary_type: str = "last"
    summary_use_proj: bool = False
    summary_activation: str | None = None
    summary_first_dropout: float = 0.0
    summary_last_dropout: float = 0.0
    num_labels: int = 2
    problem_type: str | None = None  # None: regression where num_labels is 1

    def __post_init__(self) -> None:
        supported = {
            "hidden_act": self.hidden_act in ACTIVATIONS,
            "pool_act": self.pool_act is None or self.pool_act in ACTIVATIONS,
            "summary_type": self.summary_type in SUMMARIES,
            "summary_activation": self.summary_activation is None or self.summary_activation in ACTIVATIONS,
            "pad_token_id": self.pad_token_id in range(self.vocab_size),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})
        if self.hidden_size % (2 * self.num_attention_heads) != 0:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of {self.num_attention_heads} heads of pairs"
            )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RoFormerConfig:
        """Read the contents of a transformers `config.json`.

        Raises ValueError("unsupported: {…}") for unknown keys and for values that ask for another function.
        """
        names = {field.name for field in fields(cls)}
        options = {key: value for key, value in raw.items() if key in names}
        others = {key: value for key, value in raw.items() if key not in names | _HARMLESS}
        _refuse({key: value for key, value in others.items() if key not in _FIXED or value != _FIXED[key]})
        labels = {"num_labels": len(raw["id2label"])} if raw.get("id2label") else {}
        return cls(**labels | options)

    @property
    def embedding_width(self) -> int:
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def head_dropout(self) -> float:
        """The dropout probability of the classification heads."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def regression(self) -> bool:
        """Whether the sequence classifier predicts a number."""
        return self.problem_type == "regression" or (self.problem_type is None and self.num_labels == 1)


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {  # keys of a config.json that have one value here: any other would be another function
    "model_type": "roformer", "norm_type": "layer_norm", "use_bias": True, "is_decoder": False,
    "is_encoder_decoder": False, "add_cross_attention": False, "tie_encoder_decoder": False, "pruned_heads": {},
    "summary_proj_to_labels": False,
}
_HARMLESS = frozenset({  # keys that leave the function alone: book-keeping, outputs, memory, generation, poolers
    "_attn_implementation_autoset", "_name_or_path", "_num_labels", "architectures", "directionality", "dtype",
    "finetuning_task", "id2label", "label2id", "prefix", "task_specific_params", "tf_legacy_loss", "tokenizer_class",
    "torch_dtype", "torchscript", "transformers_version", "use_bfloat16", "output_attentions", "output_hidden_states",
    "output_past", "return_dict", "use_cache", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "gradient_checkpointing", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "begin_suppress_tokens", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "length_penalty",
    "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_scores", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens",
    "temperature", "top_k", "top_p", "typical_p", "pooler_activation", "pooler_fc_size", "pooler_num_attention_heads",
    "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
})

VARIANTS = {
    "tiny": {"vocab_size": 211, "embedding_size": 24, "hidden_size": 40, "num_hidden_layers": 3,
             "num_attention_heads": 4, "intermediate_size": 56, "max_position_embeddings": 48, "num_labels": 5,
             "summary_type": "first", "summary_use_proj": True, "summary_activation": "tanh",
             "summary_last_dropout": 0.1},
    "chinese-small": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536,
                      "max_position_embeddings": 512},
    "chinese-base": {},
    "chinese-char-small": {"vocab_size": 12000, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6,
                           "intermediate_size": 1536, "max_position_embeddings": 512},
    "chinese-char-base": {"vocab_size": 12000, "max_position_embeddings": 512},
    "chinese-sim-char-small": {"vocab_size": 12000, "hidden_size": 384, "num_hidden_layers": 6,
                               "num_attention_heads": 6, "intermediate_size": 1536, "max_position_embeddings": 512,
                               "pool_act": "linear"},
    "chinese-sim-char-base": {"vocab_size": 12000, "max_position_embeddings": 512, "pool_act": "linear"},
    "chinese-sim-char-ft-small": {"vocab_size": 12000, "hidden_size": 384, "num_hidden_layers": 6,
                                  "num_attention_heads": 6, "intermediate_size": 1536, "max_position_embeddings": 512,
                                  "pool_act": "linear"},
    "chinese-sim-char-ft-base": {"vocab_size": 12000, "max_position_embeddings": 512, "pool_act": "linear"},
    "english-small-discriminator": {"vocab_size": 30522, "embedding_size": 128, "hidden_size": 256,
                                    "num_attention_heads": 4, "intermediate_size": 1024,
                                    "max_position_embeddings": 128, "rotary_value": True},
    "english-small-generator": {"vocab_size": 30522, "embedding_size": 128, "hidden_size": 64,
                                "num_attention_heads": 1, "intermediate_size": 256, "max_position_embeddings": 128,
                                "rotary_value": True},
}
# fmt: on

TASKS = {
    "masked_lm": "RoFormerForMaskedLM",
    "sequence_classification": "RoFormerForSequenceClassification",
    "token_classification": "RoFormerForTokenClassification",
    "question_answering": "RoFormerForQuestionAnswering",
    "multiple_choice": "RoFormerForMultipleChoice",
    "backbone": "RoFormerModel",
}


class RoFormerModel(nn.Layer):
    """The encoder, with its pooler where the configuration has one and the model's head does not take its place."""

    def __init__(self, config: RoFormerConfig, pooled: bool = True) -> None:
        super().__init__()
        E, D = config.embedding_width, config.hidden_size
        self.embeddings = RoFormerEmbeddings(config)
        self.embeddings_project = linear(config, E, D) if E != D else nn.Identity()
        self.encoder = RoFormerEncoder(config)
        self.pooler: nn.Layer | None = None
        if pooled and config.pool_act is not None:
            self.pooler = chain(dense=linear(config, D, D), activation=ACTIVATIONS[config.pool_act]())

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "last_hidden_state" (B, L, D), of a pooler "pooler_output" (B, D)."""
        hidden = self.embeddings_project(self.embeddings(input_ids, token_type_ids))  # (B, L, E) → (B, L, D)
        if attention_mask is None:
            attention_mask = paddle.ones_like(input_ids)
        padding = 1.0 - attention_mask[:, None, None, :].astype(hidden.dtype)  # (B, 1, 1, L)
        hidden = self.encoder(hidden, padding * paddle.finfo(hidden.dtype).min)
        return {"last_hidden_state": hidden} | (
            {} if self.pooler is None else {"pooler_output": self.pooler(hidden[:, 0])}
        )


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


class RoFormerHead(nn.Layer):
    """What the models with a head have in common; they add `score`, from hidden states to logits, and `loss`."""

    loss: nn.Layer

    def __init__(self, config: RoFormerConfig, pooled: bool = True) -> None:
        super().__init__()
        self.roformer = RoFormerModel(config, pooled)

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "logits" and, given labels, the scalar "loss"."""
        logits = self.score(self.roformer(input_ids, attention_mask, token_type_ids)["last_hidden_state"])
        return self.outputs(logits, labels)

    def outputs(self, logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}

    def score(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError


class RoFormerDecoder(nn.Layer):
    """A score for each word. `weight` (V, E) is the word embedding table itself, unless the configuration unties it."""

    def __init__(self, config: RoFormerConfig, table: Tensor) -> None:
        super().__init__()
        self.weight = table if config.tie_word_embeddings else embedding(config, config.vocab_size).weight
        self.bias = self.create_parameter([config.vocab_size], is_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.matmul(x, self.weight, transpose_y=True) + self.bias  # (B, L, E) → (B, L, V)


class RoFormerPredictions(nn.Layer):
    """Linear-activation-LayerNorm and the decoder. `bias` is the decoder's by the name under which it is saved."""

    def __init__(self, config: RoFormerConfig, table: Tensor) -> None:
        super().__init__()
        self.transform = chain(
            dense=linear(config, config.hidden_size, config.embedding_width),
            transform_act_fn=ACTIVATIONS[config.hidden_act](),
            LayerNorm=nn.LayerNorm(config.embedding_width, epsilon=config.layer_norm_eps),
        )
        self.decoder = RoFormerDecoder(config, table)
        self.bias = self.decoder.bias

    def forward(self, hidden: Tensor) -> Tensor:
        return self.decoder(self.transform(hidden))


class RoFormerForMaskedLM(RoFormerHead):
    """Labels (B, L): the original word where one is to be predicted, else −100. Logits (B, L, V)."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config)
        self.cls = chain(predictions=RoFormerPredictions(config, self.roformer.embeddings.word_embeddings.weight))
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.cls(hidden)


class RoFormerForSequenceClassification(RoFormerHead):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C).

    With `pool_act` the dense layer is PaddleNLP's pooler, in front of which nothing drops out.
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config, pooled=False)
        self.classifier = chain(
            first_dropout=nn.Dropout(config.head_dropout if config.pool_act is None else 0.0),
            dense=linear(config, config.hidden_size, config.hidden_size),
            activation=ACTIVATIONS[config.pool_act or config.hidden_act](),
            dropout=nn.Dropout(config.head_dropout),
            out_proj=linear(config, config.hidden_size, config.num_labels),
        )
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(hidden[:, 0])  # (B, D) → (B, C)


class RoFormerForTokenClassification(RoFormerHead):
    """One class for each token. Labels (B, L), −100 ignored; logits (B, L, C)."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, config.num_labels)
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden))


class RoFormerForQuestionAnswering(nn.Layer):
    """Where an answer starts and ends: two logits per token, whatever `num_labels` is."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.roformer = RoFormerModel(config)
        self.qa_outputs = linear(config, config.hidden_size, 2)
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
        hidden = self.roformer(input_ids, attention_mask, token_type_ids)["last_hidden_state"]
        start_logits, end_logits = self.qa_outputs(hidden).unbind(-1)  # (B, L, 2) → twice (B, L)
        outputs = {"start_logits": start_logits, "end_logits": end_logits}
        if start_positions is not None and end_positions is not None:
            outputs["loss"] = (self.loss(start_logits, start_positions) + self.loss(end_logits, end_positions)) / 2
        return outputs


class RoFormerSummary(nn.Layer):
    """One vector for the sequence: of the position, and through the layers, that the configuration names.

    With `pool_act` it is PaddleNLP's: the first position, through the pooler and a dropout.
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        D, pooled = config.hidden_size, config.pool_act is not None
        self.kind = "first" if pooled else config.summary_type
        self.first_dropout = nn.Dropout(0.0 if pooled else config.summary_first_dropout)
        self.summary = linear(config, D, D) if pooled or config.summary_use_proj else nn.Identity()
        self.activation = ACTIVATIONS[config.pool_act or config.summary_activation or "linear"]()
        self.last_dropout = nn.Dropout(config.head_dropout if pooled else config.summary_last_dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        chosen = self.first_dropout(SUMMARIES[self.kind](hidden))  # (B, L, D) → (B, D)
        return self.last_dropout(self.activation(self.summary(chosen)))


class RoFormerForMultipleChoice(RoFormerHead):
    """One of C sequences. Ids, mask and types (B, C, L), labels (B,), logits (B, C)."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__(config, pooled=False)
        self.sequence_summary = RoFormerSummary(config)
        self.classifier = linear(config, config.hidden_size, 1)
        self.loss = CrossEntropy()

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        flat = (None if ids is None else ids.flatten(0, 1) for ids in (input_ids, attention_mask, token_type_ids))
        logits = self.score(self.roformer(*flat)["last_hidden_state"]).reshape(input_ids.shape[:2])  # (B·C, 1) → (B, C)
        return self.outputs(logits, labels)

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.sequence_summary(hidden))
