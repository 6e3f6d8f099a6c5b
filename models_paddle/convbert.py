"""ConvBERT (Jiang et al., 2020: "ConvBERT: Improving BERT with Span-based Dynamic Convolution"), in PaddlePaddle.

An ELECTRA encoder half of whose attention heads are convolutions. What is peculiar to it:

- Beside each attention head runs a convolution over the k nearest positions. Its kernel is made anew at every position
  from the query and a separable convolution of the hidden states: softmax over the k places, one kernel for each head.
- `head_ratio` divides the number of attention heads; a head stays half as wide as the hidden width over their number.
- The convolutions know no mask: padding, and what stands in it, reaches the k // 2 tokens before it in every layer.
- The two matrices of the feed-forward may fall into groups (`num_groups`), block-diagonal matrices stored (G, in, out).
- With fewer heads than `head_ratio` the three public implementations differ; `heads_as` chooses.
- PaddleNLP's sentence heads read a pooler, which neither the authors nor transformers have; `pool_act` adds it.

Modules and parameters bear the names of transformers' checkpoints. In shapes: B batch, L length, D hidden width,
E embedding width, H heads, d width of a head, A = H·d, k places of a kernel, G groups, V vocabulary, C classes or
choices. In an attention mask 1 is a token, 0 padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import partial
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, Tensor, nn
from paddle.nn.initializer import TruncatedNormal

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

SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {  # (B, L, D) → (B, D); none of them heeds the mask
    "last": lambda hidden: hidden[:, -1],
    "first": lambda hidden: hidden[:, 0],
    "mean": lambda hidden: hidden.mean(1),
}


def linear(config: ConvBertConfig, inputs: int, outputs: int) -> nn.Linear:
    """A Linear as published: weights from a normal cut off at two standard deviations, biases zero."""
    return nn.Linear(inputs, outputs, weight_attr=initial(config.initializer_range))


def embedding(config: ConvBertConfig, size: int) -> nn.Embedding:
    """A table (size, E). It has no `padding_idx`, which would zero that row in every forward pass."""
    return nn.Embedding(size, config.embedding_size, weight_attr=initial(config.initializer_range))


def initial(std: float) -> ParamAttr:
    return ParamAttr(initializer=TruncatedNormal(std=std, a=-2 * std, b=2 * std))  # a, b: absolute, and ±2 unless given


def chain(**steps: nn.Layer) -> nn.Sequential:
    """Modules that run one after the other, under the names given."""
    return nn.Sequential(*steps.items())


class ConvBertEmbeddings(nn.Layer):
    """Word + token type + learned position → LayerNorm → dropout. The pad token's row starts at zero."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.word_embeddings = embedding(config, config.vocab_size)
        self.position_embeddings = embedding(config, config.max_position_embeddings)
        self.token_type_embeddings = embedding(config, config.type_vocab_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        with paddle.no_grad():
            self.word_embeddings.weight[config.pad_token_id] = 0.0

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        positions = paddle.arange(input_ids.shape[1])
        embedded = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        embedded = embedded + self.position_embeddings(positions)  # (B, L, E) + (L, E)
        return self.dropout(self.LayerNorm(embedded))

    def share(self, other: ConvBertEmbeddings) -> None:
        """Have the parameters of `other` in place of these."""
        for own, shared in zip(self.children(), other.children(), strict=True):
            for name, parameter in shared.named_parameters():
                setattr(own, name, parameter)


def convolve(values: Tensor, kernels: Tensor) -> Tensor:
    """Convolve `values` (B, L, A) with a kernel for each position and head (B, L, H, k); zeros lie beyond both ends.

    A sum of k shifted products: as exact as unfolding the values, which would take k times their memory.
    """
    _, L, H, k = kernels.shape
    padded = F.pad(values, [k // 2, k // 2], data_format="NLC").unflatten(-1, (H, -1))  # (B, L + k - 1, H, d)
    total = padded[:, :L] * kernels[..., :1]
    for place in range(1, k):
        total = total + padded[:, place : place + L] * kernels[..., place : place + 1]
    return total.flatten(2)  # (B, L, H, d) → (B, L, A)


class ConvBertDepthwise(nn.Conv1D):
    """A convolution of each channel on its own, over the length: (B, L, D) → (B, L, D). Its weight is (D, 1, k)."""

    def __init__(self, config: ConvBertConfig) -> None:
        D, k = config.hidden_size, config.conv_kernel_size
        super().__init__(
            D, D, k, padding=k // 2, groups=D, weight_attr=initial(1 / k), bias_attr=False, data_format="NLC"
        )


class ConvBertPointwise(nn.Conv1D):
    """A matrix product stored as a convolution: (B, L, D) → (B, L, A). Its weight is (A, D, 1)."""

    def __init__(self, config: ConvBertConfig) -> None:
        weight = initial(config.initializer_range)
        super().__init__(config.hidden_size, config.heads * config.head_size, 1, weight_attr=weight, bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.matmul(x, self.weight.squeeze(-1), transpose_y=True)


class ConvBertSeparableConv(nn.Layer):
    """Depthwise, then pointwise convolution, then a bias, which transformers stores as (A, 1)."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.depthwise = ConvBertDepthwise(config)
        self.pointwise = ConvBertPointwise(config)
        self.bias = self.create_parameter([config.heads * config.head_size, 1], is_bias=True)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(hidden)) + self.bias.squeeze(-1)


class ConvBertSelfAttention(nn.Layer):
    """softmax(q·k / √d + mask) · v in each head, and beside it the head's span-based dynamic convolution."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.heads, self.convolves = config.heads, config.convolves
        D, A = config.hidden_size, config.heads * config.head_size
        self.query = linear(config, D, A)
        self.key = linear(config, D, A)
        self.value = linear(config, D, A)
        self.softmax = nn.Softmax(axis=-1)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        if config.convolves:
            self.key_conv_attn_layer = ConvBertSeparableConv(config)
            self.conv_kernel_layer = linear(config, A, config.heads * config.conv_kernel_size)
            self.conv_softmax = nn.Softmax(axis=-1)
            self.conv_out_layer = linear(config, D, A)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        query = self.query(hidden)
        context = self.attend(query, self.key(hidden), self.value(hidden), mask)
        return (
            paddle.concat([context, self.convolution(query, hidden)], -1) if self.convolves else context
        )  # (B, L, 2·A)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (self.split(states) for states in (query, key, value))
        scores = paddle.matmul(q / math.sqrt(q.shape[-1]), k, transpose_y=True)  # (B, H, L, L)
        # the mask spread, heads as slices: Paddle broadcasts in a slow loop, and copies transposed views in another
        context = self.dropout(self.softmax(scores + mask.expand_as(scores))) @ v  # (B, H, L, d)
        return paddle.concat(context.unbind(1), axis=-1)  # (B, L, A)

    def convolution(self, query: Tensor, hidden: Tensor) -> Tensor:
        kernels = self.conv_kernel_layer(self.key_conv_attn_layer(hidden) * query)  # (B, L, A) → (B, L, H·k)
        return convolve(self.conv_out_layer(hidden), self.conv_softmax(kernels.unflatten(-1, (self.heads, -1))))

    def split(self, states: Tensor) -> Tensor:
        return paddle.stack(states.chunk(self.heads, axis=-1), axis=1)  # (B, L, A) → (B, H, L, d)


class ConvBertGroupedLinear(nn.Layer):
    """A Linear layer for each of G slices of the input. Its weight is (G, in, out), in both frameworks."""

    def __init__(self, config: ConvBertConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        groups = config.num_groups
        shape, attr = [groups, inputs // groups, outputs // groups], initial(config.initializer_range)
        self.weight = self.create_parameter(shape, attr=attr)
        self.bias = self.create_parameter([outputs], is_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        groups = self.weight.shape[0]
        parts = zip(x.chunk(groups, -1), self.weight.unbind(0), self.bias.chunk(groups), strict=True)
        return paddle.concat([F.linear(part, weight, bias) for part, weight, bias in parts], -1)


def feed_forward(config: ConvBertConfig, inputs: int, outputs: int) -> nn.Layer:
    """One of the two matrices of the feed-forward."""
    return (linear if config.num_groups == 1 else ConvBertGroupedLinear)(config, inputs, outputs)


class ConvBertResidual(nn.Layer):
    """LayerNorm(residual + dropout(dense(x))): the end of both sublayers."""

    def __init__(self, config: ConvBertConfig, dense: nn.Layer) -> None:
        super().__init__()
        self.dense = dense
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class ConvBertAttention(nn.Layer):
    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        width = config.heads * config.head_size * (2 if config.convolves else 1)
        self.self = ConvBertSelfAttention(config)
        self.output = ConvBertResidual(config, linear(config, width, config.hidden_size))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(hidden, mask), hidden)


class ConvBertLayer(nn.Layer):
    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.attention = ConvBertAttention(config)
        self.intermediate = chain(
            dense=feed_forward(config, config.hidden_size, config.intermediate_size),
            intermediate_act_fn=ACTIVATIONS[config.hidden_act](),
        )
        self.output = ConvBertResidual(config, feed_forward(config, config.intermediate_size, config.hidden_size))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.attention(hidden, mask)
        return self.output(self.intermediate(hidden), hidden)


class ConvBertEncoder(nn.Layer):
    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.layer = nn.LayerList([ConvBertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layer:
            hidden = layer(hidden, mask)
        return hidden


@dataclass(frozen=True)
class ConvBertConfig:
    """Every option, under transformers' names; the defaults are the base model's.

    `heads_as` says whose heads these are where `head_ratio` is not 2 or does not divide them: "transformers" splits the
    hidden width evenly, "original" keeps the width D / num_attention_heads, and so does "paddlenlp", but without
    convolutions where there are fewer heads than `head_ratio`. `pool_act` ("tanh", "linear") adds PaddleNLP's pooler.
    The summary_… options are of multiple choice; unless they are set it reads the last position, as in transformers.
    The last eight belong to joint pre-training: what is None of the generator's size follows from `generator_size`,
    `temperature` is the sampler's, the weights are the two losses'. Raises ValueError for an unsupported value.
    """

    vocab_size: int = 30522
    embedding_size: int = 768
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    head_ratio: int = 2
    conv_kernel_size: int = 9
    heads_as: str = "transformers"
    intermediate_size: int = 3072
    num_groups: int = 1
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None  # None: hidden_dropout_prob
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    tie_word_embeddings: bool = True
    pool_act: str | None = None
    summary_type: str = "last"
    summary_use_proj: bool = False
    summary_activation: str | None = None
    summary_first_dropout: float = 0.0
    summary_last_dropout: float = 0.0
    num_labels: int = 2
    problem_type: str | None = None  # None: regression where num_labels is 1
    generator_size: str = "1/4"
    generator_hidden_size: int | None = None
    generator_num_hidden_layers: int | None = None
    generator_num_attention_heads: int | None = None
    generator_intermediate_size: int | None = None
    temperature: float = 1.0
    generator_weight: float = 1.0
    discriminator_weight: float = 50.0

    def __post_init__(self) -> None:
        supported = {
            "hidden_act": self.hidden_act in ACTIVATIONS,
            "heads_as": self.heads_as in ("transformers", "original", "paddlenlp"),
            "conv_kernel_size": self.conv_kernel_size % 2 == 1,
            "pool_act": self.pool_act in (None, "tanh", "linear"),
            "summary_type": self.summary_type in SUMMARIES,
            "summary_activation": not self.summary_activation or self.summary_activation in ACTIVATIONS,
            "pad_token_id": self.pad_token_id in range(self.vocab_size),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
            "temperature": self.temperature >= 0,
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})
        parts = 2 * self.heads if self.heads_as == "transformers" else self.num_attention_heads
        if self.hidden_size % parts != 0:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of {parts}, the heads and convolutions")
        if widths := [width for width in (self.hidden_size, self.intermediate_size) if width % self.num_groups]:
            raise ValueError(f"a width of {widths[0]} does not fall into {self.num_groups} groups (num_groups)")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ConvBertConfig:
        """Read the contents of a transformers `config.json`; `linear_groups` is the authors' word for `num_groups`.

        Raises ValueError("unsupported: {…}") for unknown keys and for values that ask for another function.
        """
        names = {field.name for field in fields(cls)}
        options = {key: value for key, value in raw.items() if key in names}
        others = {key: value for key, value in raw.items() if key not in names | _HARMLESS}
        fixed = _FIXED | {"linear_groups": options.setdefault("num_groups", raw.get("linear_groups", 1))}
        _refuse({key: value for key, value in others.items() if key not in fixed or value != fixed[key]})
        labels = {"num_labels": len(raw["id2label"])} if raw.get("id2label") else {}
        return cls(**labels | options)

    @property
    def heads(self) -> int:
        """The number of attention heads, and of convolutions."""
        return max(1, self.num_attention_heads // self.head_ratio)

    @property
    def head_size(self) -> int:
        """The width of an attention head, and of a convolution."""
        return self.hidden_size // (2 * self.heads if self.heads_as == "transformers" else self.num_attention_heads)

    @property
    def convolves(self) -> bool:
        """Whether there are convolutions beside the heads."""
        return self.heads_as != "paddlenlp" or self.num_attention_heads >= self.head_ratio

    @property
    def head_dropout(self) -> float:
        """The dropout probability of the classification heads."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def regression(self) -> bool:
        """Whether the sequence classifier predicts a number."""
        return self.problem_type == "regression" or (self.problem_type is None and self.num_labels == 1)

    def generator(self) -> ConvBertConfig:
        """The generator that is trained together with this discriminator.

        What is not given is as in the original code: width and heads by the ratio, feed-forward 4 × width, all layers.
        """
        ratio = Fraction(self.generator_size)
        hidden = self.generator_hidden_size or round(ratio * self.hidden_size)
        return replace(
            self,
            hidden_size=hidden,
            num_hidden_layers=self.generator_num_hidden_layers or self.num_hidden_layers,
            num_attention_heads=self.generator_num_attention_heads or max(1, int(ratio * self.num_attention_heads)),
            intermediate_size=self.generator_intermediate_size or 4 * hidden,
        )


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {  # keys of a config.json that have one value here: any other would be another function
    "model_type": "convbert", "position_embedding_type": "absolute", "is_decoder": False, "is_encoder_decoder": False,
    "add_cross_attention": False, "tie_encoder_decoder": False, "pruned_heads": {},
    "summary_proj_to_labels": False, "conv_type": "sdconv",
}
_HARMLESS = frozenset({  # keys that leave the function alone: book-keeping, outputs, memory, generation, BERT's pooler
    "_attn_implementation_autoset", "_name_or_path", "_num_labels", "architectures", "directionality", "dtype",
    "finetuning_task", "id2label", "label2id", "prefix", "task_specific_params", "tf_legacy_loss", "tokenizer_class",
    "torch_dtype", "torchscript", "transformers_version", "use_bfloat16", "output_attentions", "output_hidden_states",
    "output_past", "return_dict", "use_cache", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "gradient_checkpointing", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "begin_suppress_tokens", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "length_penalty",
    "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_scores", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens",
    "top_k", "top_p", "typical_p", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type",
})

VARIANTS = {
    "tiny": {"vocab_size": 211, "embedding_size": 24, "hidden_size": 42, "num_hidden_layers": 3,
             "num_attention_heads": 6, "intermediate_size": 54, "num_groups": 3, "max_position_embeddings": 48,
             "num_labels": 5, "summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu",
             "summary_last_dropout": 0.1, "generator_hidden_size": 30, "generator_num_hidden_layers": 2,
             "generator_num_attention_heads": 2, "generator_intermediate_size": 36},
    "small": {"embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024,
              "heads_as": "original"},
    "medium-small": {"embedding_size": 128, "hidden_size": 384, "num_attention_heads": 8, "intermediate_size": 1536,
                     "num_groups": 2},
    "base": {"generator_size": "1/3"},
    "small-generator": {"embedding_size": 128, "hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 256,
                        "heads_as": "original"},
    "medium-small-generator": {"embedding_size": 128, "hidden_size": 96, "num_attention_heads": 2,
                               "intermediate_size": 384, "num_groups": 2},
    "base-generator": {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
}
# fmt: on

TASKS = {
    "replaced_token": "ConvBertForPreTraining",
    "masked_lm": "ConvBertForMaskedLM",
    "pretraining": "ConvBertForJointPreTraining",
    "sequence_classification": "ConvBertForSequenceClassification",
    "token_classification": "ConvBertForTokenClassification",
    "question_answering": "ConvBertForQuestionAnswering",
    "multiple_choice": "ConvBertForMultipleChoice",
    "backbone": "ConvBertModel",
}


class ConvBertModel(nn.Layer):
    """The encoder, and PaddleNLP's pooler if `pool_act` asks for it."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        E, D = config.embedding_size, config.hidden_size
        self.embeddings = ConvBertEmbeddings(config)
        self.embeddings_project = linear(config, E, D) if E != D else nn.Identity()
        self.encoder = ConvBertEncoder(config)
        if config.pool_act is not None:
            activation = nn.Tanh() if config.pool_act == "tanh" else nn.Identity()
            self.pooler = chain(dense=linear(config, D, D), activation=activation)

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "last_hidden_state" (B, L, D), if pooled "pooler_output" (B, D)."""
        hidden = self.embeddings_project(self.embeddings(input_ids, token_type_ids))  # (B, L, E) → (B, L, D)
        if attention_mask is None:
            attention_mask = paddle.ones_like(input_ids)
        padding = 1.0 - attention_mask[:, None, None, :].astype(hidden.dtype)  # (B, 1, 1, L)
        hidden = self.encoder(hidden, padding * paddle.finfo(hidden.dtype).min)
        pooled = {"pooler_output": self.pooler(hidden[:, 0])} if hasattr(self, "pooler") else {}
        return {"last_hidden_state": hidden, **pooled}


class CrossEntropy(nn.Layer):
    """The mean of −log softmax(logits)[label] over the labels that are not −100; 0 where there are none.

    Written out because Paddle's own function cuts each loss off at 64 and counts ignored labels in its mean.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        kept = labels != IGNORED
        chosen = logits.take_along_axis(paddle.where(kept, labels, 0).unsqueeze(-1), -1).squeeze(-1)
        return mean_of_kept(logits.logsumexp(-1) - chosen, kept)


class BinaryCrossEntropy(nn.Layer):
    """The mean of −log sigmoid(±logit), + where the label is 1, over the labels that are not −100."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(logits, labels.astype(logits.dtype), reduction="none")
        return mean_of_kept(losses, labels != IGNORED)


class SquaredError(nn.Layer):
    """The mean of (logit − label)², for regression."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels.astype(logits.dtype).reshape(logits.shape)).square().mean()


def mean_of_kept(losses: Tensor, kept: Tensor) -> Tensor:
    return paddle.where(kept, losses, paddle.zeros_like(losses)).sum() / kept.sum().clip(min=1).astype(losses.dtype)


class ConvBertHead(nn.Layer):
    """What the models with a head have in common; they add `score`, which makes logits, and `loss`."""

    loss: nn.Layer

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.convbert = ConvBertModel(config)

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "logits" and, given labels, the scalar "loss"."""
        return self.outputs(self.score(**self.convbert(input_ids, attention_mask, token_type_ids)), labels)

    def outputs(self, logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}

    def score(self, last_hidden_state: Tensor, pooler_output: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class ConvBertForPreTraining(ConvBertHead):
    """The discriminator. Labels (B, L): 1 replaced, 0 original; padding and −100 are not judged. Logits (B, L)."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__(config)
        self.discriminator_predictions = chain(
            dense=linear(config, config.hidden_size, config.hidden_size),
            activation=ACTIVATIONS[config.hidden_act](),
            dense_prediction=linear(config, config.hidden_size, 1),
        )
        self.loss = BinaryCrossEntropy()

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        if labels is not None and attention_mask is not None:
            labels = paddle.where(attention_mask == 1, labels, IGNORED)
        return super().forward(input_ids, attention_mask, token_type_ids, labels)

    def score(self, last_hidden_state: Tensor, pooler_output: Tensor | None = None) -> Tensor:
        return self.discriminator_predictions(last_hidden_state).squeeze(-1)


class ConvBertDecoder(nn.Layer):
    """A score for each word. `weight` (V, E) is the word embedding table itself, unless the configuration unties it."""

    def __init__(self, config: ConvBertConfig, table: Tensor) -> None:
        super().__init__()
        self.weight = table if config.tie_word_embeddings else embedding(config, config.vocab_size).weight
        self.bias = self.create_parameter([config.vocab_size], is_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.matmul(x, self.weight, transpose_y=True) + self.bias  # (B, L, E) → (B, L, V)


class ConvBertForMaskedLM(ConvBertHead):
    """The generator. Labels (B, L): the original word where one is to be predicted, else −100. Logits (B, L, V).

    As in transformers the head's activation is GELU, whatever `hidden_act` is.
    """

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__(config)
        self.generator_predictions = chain(
            dense=linear(config, config.hidden_size, config.embedding_size),
            activation=nn.GELU(),
            LayerNorm=nn.LayerNorm(config.embedding_size, epsilon=config.layer_norm_eps),
        )
        self.generator_lm_head = ConvBertDecoder(config, self.convbert.embeddings.word_embeddings.weight)
        self.loss = CrossEntropy()

    def score(self, last_hidden_state: Tensor, pooler_output: Tensor | None = None) -> Tensor:
        return self.generator_lm_head(self.generator_predictions(last_hidden_state))


class GumbelSampler(nn.Layer):
    """Draws a word for each position from softmax(logits / temperature); temperature 0 takes the likeliest.

    The draw is the argmax of logits / temperature − log(−log u). `noise` u, shaped as the logits and uniform in (0, 1),
    makes it repeatable; without it the framework's generator is asked. Nothing flows back.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    @paddle.no_grad()
    def forward(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        noise = paddle.rand(logits.shape, logits.dtype) if noise is None else noise.astype(logits.dtype)
        return (logits / self.temperature - paddle.log(-paddle.log(noise))).argmax(-1)  # (B, L, V) → (B, L)


class ConvBertForJointPreTraining(nn.Layer):
    """Generator and discriminator, with all their embeddings in common (paper, sections 2 and 3.2)."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.generator = ConvBertForMaskedLM(config.generator())
        self.sampler = GumbelSampler(config.temperature)
        self.discriminator = ConvBertForPreTraining(config)
        self.discriminator.convbert.embeddings.share(self.generator.convbert.embeddings)
        self.weights = config.generator_weight, config.discriminator_weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Ids = None,
        token_type_ids: Ids = None,
        *,
        labels: Tensor,
        sampling_noise: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """`input_ids` (B, L) are masked already; `labels` (B, L) have the original words there and −100 elsewhere.

        A word that the generator happens to restore counts as original. For `sampling_noise` (B, L, V) see
        GumbelSampler. Returns "generator_logits" (B, L, V), the discriminator's "logits" (B, L), what it read as
        "replaced_ids" and "replaced_labels" (B, L), "generator_loss", "discriminator_loss", and "loss", their weighted
        sum.
        """
        generator = self.generator(input_ids, attention_mask, token_type_ids, labels)
        sampled = self.sampler(generator["logits"], sampling_noise)
        masked = labels != IGNORED
        replaced_ids = paddle.where(masked, sampled, input_ids)
        replaced_labels = (masked & (sampled != labels)).astype("int64")
        discriminator = self.discriminator(replaced_ids, attention_mask, token_type_ids, replaced_labels)
        return {
            "generator_logits": generator["logits"],
            "logits": discriminator["logits"],
            "replaced_ids": replaced_ids,
            "replaced_labels": replaced_labels,
            "generator_loss": generator["loss"],
            "discriminator_loss": discriminator["loss"],
            "loss": self.weights[0] * generator["loss"] + self.weights[1] * discriminator["loss"],
        }


class ConvBertForSequenceClassification(ConvBertHead):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C)."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__(config)
        self.classifier = chain(
            first_dropout=nn.Dropout(config.head_dropout),
            dense=linear(config, config.hidden_size, config.hidden_size),
            activation=ACTIVATIONS[config.hidden_act](),
            dropout=nn.Dropout(config.head_dropout),
            out_proj=linear(config, config.hidden_size, config.num_labels),
        )
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def score(self, last_hidden_state: Tensor, pooler_output: Tensor | None = None) -> Tensor:
        return self.classifier(last_hidden_state[:, 0] if pooler_output is None else pooler_output)  # (B, D) → (B, C)


class ConvBertForTokenClassification(ConvBertHead):
    """One class for each token. Labels (B, L), −100 ignored; logits (B, L, C)."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, config.num_labels)
        self.loss = CrossEntropy()

    def score(self, last_hidden_state: Tensor, pooler_output: Tensor | None = None) -> Tensor:
        return self.classifier(self.dropout(last_hidden_state))


class ConvBertForQuestionAnswering(nn.Layer):
    """Where an answer starts and ends: two logits per token, whatever `num_labels` is."""

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__()
        self.convbert = ConvBertModel(config)
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
        hidden = self.convbert(input_ids, attention_mask, token_type_ids)["last_hidden_state"]
        start_logits, end_logits = self.qa_outputs(hidden).unbind(-1)  # (B, L, 2) → twice (B, L)
        outputs = {"start_logits": start_logits, "end_logits": end_logits}
        if start_positions is not None and end_positions is not None:
            outputs["loss"] = (self.loss(start_logits, start_positions) + self.loss(end_logits, end_positions)) / 2
        return outputs


class ConvBertForMultipleChoice(ConvBertHead):
    """One of C sequences. Ids, mask and types (B, C, L), labels (B,), logits (B, C).

    With a pooler it reads that, and otherwise what the summary_… options make of the hidden states.
    """

    def __init__(self, config: ConvBertConfig) -> None:
        super().__init__(config)
        D, pooled = config.hidden_size, config.pool_act is not None
        activation = None if pooled else config.summary_activation
        self.summarise = SUMMARIES[config.summary_type]
        self.sequence_summary = chain(
            first_dropout=nn.Dropout(0.0 if pooled else config.summary_first_dropout),
            summary=linear(config, D, D) if config.summary_use_proj and not pooled else nn.Identity(),
            activation=ACTIVATIONS[activation]() if activation else nn.Identity(),
            last_dropout=nn.Dropout(config.head_dropout if pooled else config.summary_last_dropout),
        )
        self.classifier = linear(config, D, 1)
        self.loss = CrossEntropy()

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        flat = (None if ids is None else ids.flatten(0, 1) for ids in (input_ids, attention_mask, token_type_ids))
        logits = self.score(**self.convbert(*flat)).reshape(input_ids.shape[:2])  # (B·C, 1) → (B, C)
        return self.outputs(logits, labels)

    def score(self, last_hidden_state: Tensor, pooler_output: Tensor | None = None) -> Tensor:
        summary = self.summarise(last_hidden_state) if pooler_output is None else pooler_output
        return self.classifier(self.sequence_summary(summary))  # (B, D) → (B, 1)
