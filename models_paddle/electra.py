"""ELECTRA (Clark et al., 2020: "Pre-training Text Encoders as Discriminators Rather Than Generators"), in PaddlePaddle.

A post-norm BERT encoder. What is peculiar to it:

- Embeddings have a width of their own; they are normalised first and then projected to the hidden width, and only where
  the two widths differ.
- There is no pooler. Sentence heads read the hidden state of the first token, with GELU where BERT has tanh.
- The discriminator judges every token, original or replaced, through Linear-GELU-Linear(1), without a norm.
- The generator, a small masked language model, ends in Linear-GELU-LayerNorm and a decoder tied to the word embeddings.
- In pre-training both share all their embeddings, and no gradient flows through the words that the generator samples.

Modules and parameters bear the names of transformers' checkpoints. In shapes: B batch, L length, D hidden width,
E embedding width, H heads, d = D/H, V vocabulary, C classes or choices. In an attention mask 1 is a token, 0 padding.
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


def linear(config: ElectraConfig, inputs: int, outputs: int) -> nn.Linear:
    """A Linear as published: weights from a normal cut off at two standard deviations, biases zero."""
    return nn.Linear(inputs, outputs, weight_attr=initial(config))


def embedding(config: ElectraConfig, size: int) -> nn.Embedding:
    """A table (size, E). It has no `padding_idx`, which would zero that row in every forward pass."""
    return nn.Embedding(size, config.embedding_size, weight_attr=initial(config))


def initial(config: ElectraConfig) -> ParamAttr:
    std = config.initializer_range
    return ParamAttr(initializer=TruncatedNormal(std=std, a=-2 * std, b=2 * std))  # a, b: absolute, and ±2 unless given


def chain(**steps: nn.Layer) -> nn.Sequential:
    """Modules that run one after the other, under the names given."""
    return nn.Sequential(*steps.items())


class ElectraEmbeddings(nn.Layer):
    """Word + token type + learned position → LayerNorm → dropout. The pad token's row starts at zero."""

    def __init__(self, config: ElectraConfig) -> None:
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

    def share(self, other: ElectraEmbeddings) -> None:
        """Have the parameters of `other` in place of these."""
        for own, shared in zip(self.children(), other.children(), strict=True):
            for name, parameter in shared.named_parameters():
                setattr(own, name, parameter)


class ElectraSelfAttention(nn.Layer):
    """softmax(q·k / √d + mask) · v in each head."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = linear(config, config.hidden_size, config.hidden_size)
        self.key = linear(config, config.hidden_size, config.hidden_size)
        self.value = linear(config, config.hidden_size, config.hidden_size)
        self.softmax = nn.Softmax(axis=-1)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (self.split(project(hidden)) for project in (self.query, self.key, self.value))
        scores = paddle.matmul(q / math.sqrt(q.shape[-1]), k, transpose_y=True)  # (B, H, L, L)
        # the mask spread, heads as slices: Paddle broadcasts in a slow loop, and copies transposed views in another
        context = self.dropout(self.softmax(scores + mask.expand_as(scores))) @ v  # (B, H, L, d)
        return paddle.concat(context.unbind(1), axis=-1)  # (B, L, D)

    def split(self, states: Tensor) -> Tensor:
        return paddle.stack(states.chunk(self.heads, axis=-1), axis=1)  # (B, L, D) → (B, H, L, d)


class ElectraResidual(nn.Layer):
    """LayerNorm(residual + dropout(dense(x))): the end of both sublayers."""

    def __init__(self, config: ElectraConfig, inputs: int) -> None:
        super().__init__()
        self.dense = linear(config, inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class ElectraAttention(nn.Layer):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.self = ElectraSelfAttention(config)
        self.output = ElectraResidual(config, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(hidden, mask), hidden)


class ElectraLayer(nn.Layer):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.attention = ElectraAttention(config)
        self.intermediate = chain(
            dense=linear(config, config.hidden_size, config.intermediate_size),
            intermediate_act_fn=ACTIVATIONS[config.hidden_act](),
        )
        self.output = ElectraResidual(config, config.intermediate_size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.attention(hidden, mask)
        return self.output(self.intermediate(hidden), hidden)


class ElectraEncoder(nn.Layer):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.layer = nn.LayerList([ElectraLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layer:
            hidden = layer(hidden, mask)
        return hidden


@dataclass(frozen=True)
class ElectraConfig:
    """Every option, under transformers' names; the defaults are the small discriminator's.

    The last eight belong to joint pre-training: what is None of the generator's size follows from the ratio
    `generator_size` (see `generator`), `temperature` is the sampler's, the weights are those of the two losses.
    Raises ValueError for an unsupported value.
    """

    vocab_size: int = 30522
    embedding_size: int = 128
    hidden_size: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 4
    intermediate_size: int = 1024
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
    summary_activation: str = "gelu"
    summary_last_dropout: float = 0.1
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
            "summary_activation": self.summary_activation in ACTIVATIONS,
            "pad_token_id": self.pad_token_id in range(self.vocab_size),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
            "temperature": self.temperature >= 0,
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of {self.num_attention_heads} heads")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ElectraConfig:
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
    def head_dropout(self) -> float:
        """The dropout probability of the classification heads."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def regression(self) -> bool:
        """Whether the sequence classifier predicts a number."""
        return self.problem_type == "regression" or (self.problem_type is None and self.num_labels == 1)

    def generator(self) -> ElectraConfig:
        """The generator that is trained together with this discriminator.

        What is not given follows the original code: hidden width = ratio × this one's, heads of width 64, feed-forward
        4 × hidden, and equally many layers.
        """
        hidden = self.generator_hidden_size or round(Fraction(self.generator_size) * self.hidden_size)
        return replace(
            self,
            hidden_size=hidden,
            num_hidden_layers=self.generator_num_hidden_layers or self.num_hidden_layers,
            num_attention_heads=self.generator_num_attention_heads or max(1, hidden // 64),
            intermediate_size=self.generator_intermediate_size or 4 * hidden,
        )


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {  # keys of a config.json that have one value here: any other would be another function
    "model_type": "electra", "position_embedding_type": "absolute", "is_decoder": False, "is_encoder_decoder": False,
    "add_cross_attention": False, "tie_encoder_decoder": False, "pruned_heads": {}, "summary_type": "first",
    "summary_use_proj": True, "summary_first_dropout": 0, "summary_proj_to_labels": False,
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
    "tiny": {"vocab_size": 211, "embedding_size": 24, "hidden_size": 40, "num_hidden_layers": 3,
             "num_attention_heads": 4, "intermediate_size": 56, "max_position_embeddings": 48, "num_labels": 5,
             "generator_hidden_size": 28, "generator_num_hidden_layers": 2, "generator_num_attention_heads": 2,
             "generator_intermediate_size": 36},
    "small": {"generator_size": "1"},
    "base": {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072,
             "generator_size": "1/3"},
    "large": {"embedding_size": 1024, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
              "intermediate_size": 4096},
    "small-generator": {},
    "base-generator": {"embedding_size": 768},
    "large-generator": {"embedding_size": 1024, "num_hidden_layers": 24},
    "zh-tiny": {"vocab_size": 21128, "embedding_size": 312, "hidden_size": 312, "num_hidden_layers": 4,
                "num_attention_heads": 12, "intermediate_size": 1200},
    "zh-small": {"vocab_size": 21128},
    "zh-base": {"vocab_size": 21128, "embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12,
                "intermediate_size": 3072},
}
# fmt: on

TASKS = {
    "replaced_token": "ElectraForPreTraining",
    "masked_lm": "ElectraForMaskedLM",
    "pretraining": "ElectraForJointPreTraining",
    "sequence_classification": "ElectraForSequenceClassification",
    "token_classification": "ElectraForTokenClassification",
    "question_answering": "ElectraForQuestionAnswering",
    "multiple_choice": "ElectraForMultipleChoice",
    "backbone": "ElectraModel",
}


class ElectraModel(nn.Layer):
    """The encoder."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        E, D = config.embedding_size, config.hidden_size
        self.embeddings = ElectraEmbeddings(config)
        self.embeddings_project = linear(config, E, D) if E != D else nn.Identity()
        self.encoder = ElectraEncoder(config)

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "last_hidden_state" (B, L, D)."""
        hidden = self.embeddings_project(self.embeddings(input_ids, token_type_ids))  # (B, L, E) → (B, L, D)
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


class ElectraHead(nn.Layer):
    """What the models with a head have in common; they add `score`, from hidden states to logits, and `loss`."""

    loss: nn.Layer

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.electra = ElectraModel(config)

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "logits" and, given labels, the scalar "loss"."""
        logits = self.score(self.electra(input_ids, attention_mask, token_type_ids)["last_hidden_state"])
        return self.outputs(logits, labels)

    def outputs(self, logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}

    def score(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError


class ElectraForPreTraining(ElectraHead):
    """The discriminator. Labels (B, L): 1 replaced, 0 original; padding and −100 are not judged. Logits (B, L)."""

    def __init__(self, config: ElectraConfig) -> None:
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

    def score(self, hidden: Tensor) -> Tensor:
        return self.discriminator_predictions(hidden).squeeze(-1)


class ElectraDecoder(nn.Layer):
    """A score for each word. `weight` (V, E) is the word embedding table itself, unless the configuration unties it."""

    def __init__(self, config: ElectraConfig, table: Tensor) -> None:
        super().__init__()
        self.weight = table if config.tie_word_embeddings else embedding(config, config.vocab_size).weight
        self.bias = self.create_parameter([config.vocab_size], is_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.matmul(x, self.weight, transpose_y=True) + self.bias  # (B, L, E) → (B, L, V)


class ElectraForMaskedLM(ElectraHead):
    """The generator. Labels (B, L): the original word where one is to be predicted, else −100. Logits (B, L, V).

    As in transformers the head's activation is GELU, whatever `hidden_act` is.
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.generator_predictions = chain(
            dense=linear(config, config.hidden_size, config.embedding_size),
            activation=nn.GELU(),
            LayerNorm=nn.LayerNorm(config.embedding_size, epsilon=config.layer_norm_eps),
        )
        self.generator_lm_head = ElectraDecoder(config, self.electra.embeddings.word_embeddings.weight)
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.generator_lm_head(self.generator_predictions(hidden))


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


class ElectraForJointPreTraining(nn.Layer):
    """Generator and discriminator, with all their embeddings in common (paper, sections 2 and 3.2)."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.generator = ElectraForMaskedLM(config.generator())
        self.sampler = GumbelSampler(config.temperature)
        self.discriminator = ElectraForPreTraining(config)
        self.discriminator.electra.embeddings.share(self.generator.electra.embeddings)
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


class ElectraForSequenceClassification(ElectraHead):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C).

    As in transformers the head's activation is GELU, whatever `hidden_act` is.
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.classifier = chain(
            first_dropout=nn.Dropout(config.head_dropout),
            dense=linear(config, config.hidden_size, config.hidden_size),
            activation=nn.GELU(),
            dropout=nn.Dropout(config.head_dropout),
            out_proj=linear(config, config.hidden_size, config.num_labels),
        )
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(hidden[:, 0])  # (B, D) → (B, C)


class ElectraForTokenClassification(ElectraHead):
    """One class for each token. Labels (B, L), −100 ignored; logits (B, L, C)."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, config.num_labels)
        self.loss = CrossEntropy()

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden))


class ElectraForQuestionAnswering(nn.Layer):
    """Where an answer starts and ends: two logits per token, whatever `num_labels` is."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.electra = ElectraModel(config)
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
        hidden = self.electra(input_ids, attention_mask, token_type_ids)["last_hidden_state"]
        start_logits, end_logits = self.qa_outputs(hidden).unbind(-1)  # (B, L, 2) → twice (B, L)
        outputs = {"start_logits": start_logits, "end_logits": end_logits}
        if start_positions is not None and end_positions is not None:
            outputs["loss"] = (self.loss(start_logits, start_positions) + self.loss(end_logits, end_positions)) / 2
        return outputs


class ElectraForMultipleChoice(ElectraHead):
    """One of C sequences. Ids, mask and types (B, C, L), labels (B,), logits (B, C)."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.sequence_summary = chain(
            summary=linear(config, config.hidden_size, config.hidden_size),
            activation=ACTIVATIONS[config.summary_activation](),
            last_dropout=nn.Dropout(config.summary_last_dropout),
        )
        self.classifier = linear(config, config.hidden_size, 1)
        self.loss = CrossEntropy()

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        flat = (None if ids is None else ids.flatten(0, 1) for ids in (input_ids, attention_mask, token_type_ids))
        logits = self.score(self.electra(*flat)["last_hidden_state"]).reshape(input_ids.shape[:2])  # (B·C, 1) → (B, C)
        return self.outputs(logits, labels)

    def score(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.sequence_summary(hidden[:, 0]))
