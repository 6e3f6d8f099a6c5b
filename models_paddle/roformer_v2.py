"""RoFormerV2 (Su et al., 2022: "RoFormerV2: A Faster and Better RoFormer"), in PaddlePaddle.

RoFormer stripped down: a post-norm encoder without position embeddings. What is peculiar to it:

- No biases. The norm divides by the root of the mean square, without a mean and without parameters. ReLU, not GELU.
- Every query and key is turned by its position m: the pair (x₂ᵢ, x₂ᵢ₊₁) of a head, taken as a complex number, is
  multiplied by exp(i·m·10000^(−2i/d)), so that q·k depends on the distance of the two only. `rotary_value` turns the
  values too. The angles are computed, in float64: there is nothing to save, and no bound on the length.
- Weights start from a normal that narrows with the depth: see `initial_std`.
- The masked language model's head is the word embedding table, transposed, and nothing else.
- PaddleNLP classifies the first token's state by one layer, without a bias. The public PyTorch port's heads have biases
  (`classifier_bias`), and its sequence classifier a layer and a dropout more (`classifier_hidden`).

Modules and parameters bear the names of that port's checkpoints. In shapes: B batch, L length, D hidden width, H heads,
d = D/H, V vocabulary, C classes or choices. In an attention mask 1 is a token, 0 padding.
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
}


def linear(config: RoFormerV2Config, inputs: int, outputs: int, bias: bool) -> nn.Linear:
    """A Linear as published, its bias zero."""
    weight = initial(config.initial_std(inputs))
    return nn.Linear(inputs, outputs, weight_attr=weight, bias_attr=None if bias else False)


def embedding(config: RoFormerV2Config, size: int) -> nn.Embedding:
    """A table (size, D). It has no `padding_idx`, which would zero that row in every forward pass."""
    return nn.Embedding(size, config.hidden_size, weight_attr=initial(config.initial_std(config.hidden_size)))


def initial(std: float) -> ParamAttr:
    return ParamAttr(initializer=TruncatedNormal(std=std, a=-2 * std, b=2 * std))  # a, b: absolute, and ±2 unless given


def chain(**steps: nn.Layer) -> nn.Sequential:
    """Modules that run one after the other, under the names given."""
    return nn.Sequential(*steps.items())


class RoFormerV2Norm(nn.Layer):
    """x / √(mean of x² + ε) over the last axis."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self._epsilon = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * paddle.rsqrt(x.square().mean(-1, keepdim=True) + self._epsilon)


class RoFormerV2Embeddings(nn.Layer):
    """Word + token type → norm → dropout; bert4keras, in which RoFormerV2 was trained, drops out before the norm."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.word_embeddings = embedding(config, config.vocab_size)
        self.token_type_embeddings = embedding(config, config.type_vocab_size)
        self.LayerNorm = RoFormerV2Norm(config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.dropout_before_norm = config.dropout_before_norm

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        embedded = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)  # (B, L, D)
        if self.dropout_before_norm:
            return self.LayerNorm(self.dropout(embedded))
        return self.dropout(self.LayerNorm(embedded))


class RoFormerV2Positions(nn.Layer):
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


class RoFormerV2Rotary(nn.Layer):
    """Each pair of a head, as a complex number, times its position's."""

    def forward(self, states: Tensor, turns: Tensor) -> Tensor:
        """`states` (B, L, H, d), `turns` (L, d/2, 2); half precision, which has no complex numbers, is widened."""
        pairs = paddle.as_complex(states.astype(turns.dtype).unflatten(-1, (-1, 2)))  # (B, L, H, d/2)
        turns = turns[:, None].expand([-1, states.shape[2], -1, -1])  # (L, H, d/2, 2)
        # a table for every head: Paddle is slow where other axes than the first are to be broadcast
        turned = pairs * paddle.as_complex(turns)
        return paddle.as_real(turned).flatten(-2).astype(states.dtype)


class RoFormerV2SelfAttention(nn.Layer):
    """softmax(q·k / √d + mask) · v in each head; q and k are turned by their positions, and v where the option is."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.rotary_value = config.rotary_value
        self.query = linear(config, config.hidden_size, config.hidden_size, config.use_bias)
        self.key = linear(config, config.hidden_size, config.hidden_size, config.use_bias)
        self.value = linear(config, config.hidden_size, config.hidden_size, config.use_bias)
        self.rotary = RoFormerV2Rotary()
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


class RoFormerV2Residual(nn.Layer):
    """norm(residual + dropout(dense(x))): the end of both sublayers."""

    def __init__(self, config: RoFormerV2Config, inputs: int) -> None:
        super().__init__()
        self.dense = linear(config, inputs, config.hidden_size, config.use_bias)
        self.LayerNorm = RoFormerV2Norm(config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class RoFormerV2Attention(nn.Layer):
    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.self = RoFormerV2SelfAttention(config)
        self.output = RoFormerV2Residual(config, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor, turns: Tensor) -> Tensor:
        return self.output(self.self(hidden, mask, turns), hidden)


class RoFormerV2Layer(nn.Layer):
    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.attention = RoFormerV2Attention(config)
        self.intermediate = chain(
            dense=linear(config, config.hidden_size, config.intermediate_size, config.use_bias),
            intermediate_act_fn=ACTIVATIONS[config.hidden_act](),
        )
        self.output = RoFormerV2Residual(config, config.intermediate_size)

    def forward(self, hidden: Tensor, mask: Tensor, turns: Tensor) -> Tensor:
        hidden = self.attention(hidden, mask, turns)
        return self.output(self.intermediate(hidden), hidden)


class RoFormerV2Encoder(nn.Layer):
    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.embed_positions = RoFormerV2Positions(config.hidden_size // config.num_attention_heads)
        self.layer = nn.LayerList([RoFormerV2Layer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        turns = self.embed_positions(hidden)
        for layer in self.layer:
            hidden = layer(hidden, mask, turns)
        return hidden


@dataclass(frozen=True)
class RoFormerV2Config:
    """Every option, under the names of the public PyTorch port; the defaults are the base model's.

    `use_bias` gives every layer a bias, and `classifier_bias` the heads alone: without either, and without
    `classifier_hidden`, they are PaddleNLP's. `classifier_dropout` None: hidden_dropout_prob.
    `max_position_embeddings` is for libraries that keep a table. Raises ValueError for an unsupported value.
    """

    vocab_size: int = 12000
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "relu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0
    layer_norm_eps: float = 1e-12
    rotary_value: bool = False
    use_bias: bool = False
    dropout_before_norm: bool = False
    classifier_bias: bool = False
    classifier_hidden: bool = False
    num_labels: int = 2
    problem_type: str | None = None  # None: regression where num_labels is 1

    def __post_init__(self) -> None:
        supported = {
            "hidden_act": self.hidden_act in ACTIVATIONS,
            "pad_token_id": self.pad_token_id in range(self.vocab_size),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})
        if self.hidden_size % (2 * self.num_attention_heads) != 0:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of {self.num_attention_heads} heads of pairs"
            )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RoFormerV2Config:
        """Read the contents of a `config.json`, PaddleNLP's and the public port's too, whose model_type is another.

        Raises ValueError("unsupported: {…}") for unknown keys and for values that ask for another function.
        """
        names = {field.name for field in fields(cls)}
        options = {key: value for key, value in raw.items() if key in names}
        others = {key: value for key, value in raw.items() if key not in names | _HARMLESS}
        fixed = _FIXED | {"embedding_size": options.get("hidden_size", cls.hidden_size)}
        if raw.get("model_type") == "roformerv2" or raw.get("norm_type") == "rms_norm":  # PaddleNLP's, the port's
            fixed["model_type"] = raw["model_type"]
        _refuse({key: value for key, value in others.items() if key not in fixed or value != fixed[key]})
        labels = {"num_labels": len(raw["id2label"])} if raw.get("id2label") else {}
        return cls(**labels | options)

    def initial_std(self, fan: int) -> float:
        """The standard deviation of a fresh weight that reads `fan` numbers; of a table `fan` is the width.

        bert4keras: σ = 1.13684723 / √fan · (layers)^(−1/2), cut off at ±2σ; the constant makes up for the cut. It takes
        the first axis of a kernel for the fan, and the second if the first is below 10 or above 10000, which is to say
        of tables; a table between these would get its number of rows there, here it gets its width like the others.
        """
        return 1.13684723 / math.sqrt(fan * self.num_hidden_layers)

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
    "model_type": "roformer_v2", "norm_type": "rms_norm", "is_decoder": False, "is_encoder_decoder": False,
    "add_cross_attention": False, "tie_encoder_decoder": False, "tie_word_embeddings": True, "pruned_heads": {},
    "normalize_before": False,
}
_HARMLESS = frozenset({  # keys that leave the function alone: book-keeping, outputs, memory, generation, unused
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
    "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "initializer_range", "act_dropout",
})

VARIANTS = {
    "tiny": {"vocab_size": 211, "hidden_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
             "intermediate_size": 56, "max_position_embeddings": 48, "num_labels": 5},
    "small": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
# fmt: on

TASKS = {
    "masked_lm": "RoFormerV2ForMaskedLM",
    "sequence_classification": "RoFormerV2ForSequenceClassification",
    "token_classification": "RoFormerV2ForTokenClassification",
    "question_answering": "RoFormerV2ForQuestionAnswering",
    "multiple_choice": "RoFormerV2ForMultipleChoice",
    "backbone": "RoFormerV2Model",
}


class RoFormerV2Model(nn.Layer):
    """The encoder."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.embeddings = RoFormerV2Embeddings(config)
        self.encoder = RoFormerV2Encoder(config)

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "last_hidden_state" (B, L, D)."""
        hidden = self.embeddings(input_ids, token_type_ids)  # (B, L, D)
        if attention_mask is None:
            attention_mask = paddle.ones_like(input_ids)
        padding = 1.0 - attention_mask[:, None, None, :].astype(hidden.dtype)  # (B, 1, 1, L)
        return {"last_hidden_state": self.encoder(hidden, padding * paddle.finfo(hidden.dtype).min)}


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


class RoFormerV2Head(nn.Layer):
    """What the models with a head have in common; they add `score`, from hidden states to logits, and `loss`."""

    loss: nn.Layer

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.roformer = RoFormerV2Model(config)

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


class RoFormerV2Decoder(nn.Layer):
    """A score for each word. `weight` (V, D) is the word embedding table itself."""

    def __init__(self, config: RoFormerV2Config, table: Tensor) -> None:
        super().__init__()
        self.weight = table
        self.bias = self.create_parameter([config.vocab_size], is_bias=True) if config.use_bias else None

    def forward(self, x: Tensor) -> Tensor:
        logits = paddle.matmul(x, self.weight, transpose_y=True)  # (B, L, D) → (B, L, V)
        return logits if self.bias is None else logits + self.bias


class RoFormerV2ForMaskedLM(RoFormerV2Head):
    """Labels (B, L): the original word where one is to be predicted, else −100. Logits (B, L, V)."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__(config)
        decoder = RoFormerV2Decoder(config, self.roformer.embeddings.word_embeddings.weight)
        self.cls = chain(predictions=chain(decoder=decoder))
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.cls(hidden)


def classifier(config: RoFormerV2Config, outputs: int) -> nn.Linear:
    return linear(config, config.hidden_size, outputs, config.use_bias or config.classifier_bias)


class RoFormerV2ForSequenceClassification(RoFormerV2Head):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C)."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier: nn.Layer = classifier(config, config.num_labels)
        if config.classifier_hidden:
            self.classifier = chain(
                dense=classifier(config, config.hidden_size),
                activation=ACTIVATIONS[config.hidden_act](),
                dropout=nn.Dropout(config.head_dropout),
                out_proj=self.classifier,
            )
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden[:, 0]))  # (B, D) → (B, C)


class RoFormerV2ForTokenClassification(RoFormerV2Head):
    """One class for each token. Labels (B, L), −100 ignored; logits (B, L, C)."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = classifier(config, config.num_labels)
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden))


class RoFormerV2ForQuestionAnswering(nn.Layer):
    """Where an answer starts and ends: two logits per token, whatever `num_labels` is."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__()
        self.roformer = RoFormerV2Model(config)
        self.qa_outputs = classifier(config, 2)
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


class RoFormerV2ForMultipleChoice(RoFormerV2Head):
    """One of C sequences. Ids, mask and types (B, C, L), labels (B,), logits (B, C)."""

    def __init__(self, config: RoFormerV2Config) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = classifier(config, 1)
        self.loss = CrossEntropy()

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        flat = (None if ids is None else ids.flatten(0, 1) for ids in (input_ids, attention_mask, token_type_ids))
        logits = self.score(self.roformer(*flat)["last_hidden_state"]).reshape(input_ids.shape[:2])  # (B·C, 1) → (B, C)
        return self.outputs(logits, labels)

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden[:, 0]))
