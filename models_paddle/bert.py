"""BERT (Devlin et al., 2018, arXiv:1810.04805), in PaddlePaddle.

A post-norm encoder. What is peculiar to it:

- Embeddings have the hidden width. The pad token's row starts like any other, as in the original code.
- The pooler, dense + tanh on the first token's hidden state, is trained by next sentence prediction; only the heads
  that judge a whole sequence have it.
- The masked language model ends in dense, activation, LayerNorm and a decoder tied to the word embeddings, whose bias
  checkpoints know by two names.
- In pre-training both losses are added; a next sentence label is 0 where the second text does follow the first.

RoBERTa-wwm and MacBERT checkpoints have this architecture too (`config.json` says so), RoBERTa's own have not.
Modules and parameters bear the names of transformers' checkpoints. In shapes: B batch, L length, D hidden width,
H heads, d = D/H, V vocabulary, C classes or choices. In an attention mask 1 is a token, 0 padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import paddle
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


def linear(config: BertConfig, inputs: int, outputs: int) -> nn.Linear:
    """A Linear as published: weights from a normal cut off at two standard deviations, biases zero."""
    return nn.Linear(inputs, outputs, weight_attr=initial(config))


def embedding(config: BertConfig, size: int) -> nn.Embedding:
    """A table (size, D). It has no `padding_idx`, which would zero that row in every forward pass."""
    return nn.Embedding(size, config.hidden_size, weight_attr=initial(config))


def initial(config: BertConfig) -> ParamAttr:
    std = config.initializer_range
    return ParamAttr(initializer=TruncatedNormal(std=std, a=-2 * std, b=2 * std))  # a, b: absolute, and ±2 unless given


def chain(**steps: nn.Layer) -> nn.Sequential:
    """Modules that run one after the other, under the names given."""
    return nn.Sequential(*steps.items())


class BertEmbeddings(nn.Layer):
    """Word + token type + learned position → LayerNorm → dropout."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = embedding(config, config.vocab_size)
        self.position_embeddings = embedding(config, config.max_position_embeddings)
        self.token_type_embeddings = embedding(config, config.type_vocab_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        positions = paddle.arange(input_ids.shape[1])
        embedded = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        embedded = embedded + self.position_embeddings(positions)  # (B, L, D) + (L, D)
        return self.dropout(self.LayerNorm(embedded))


class BertSelfAttention(nn.Layer):
    """softmax(q·k / √d + mask) · v in each head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.scale = (config.hidden_size // config.num_attention_heads) ** -0.5
        self.query = linear(config, config.hidden_size, config.hidden_size)
        self.key = linear(config, config.hidden_size, config.hidden_size)
        self.value = linear(config, config.hidden_size, config.hidden_size)
        self.softmax = nn.Softmax(axis=-1)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (self.split(project(hidden)) for project in (self.query, self.key, self.value))
        scores = paddle.matmul(q * self.scale, k, transpose_y=True)  # (B, H, L, L)
        # the mask spread, heads as slices: Paddle broadcasts in a slow loop, and copies transposed views in another
        context = self.dropout(self.softmax(scores + mask.expand_as(scores))) @ v  # (B, H, L, d)
        return paddle.concat(context.unbind(1), axis=-1)  # (B, L, D)

    def split(self, states: Tensor) -> Tensor:
        return paddle.stack(states.chunk(self.heads, axis=-1), axis=1)  # (B, L, D) → (B, H, L, d)


class BertResidual(nn.Layer):
    """LayerNorm(residual + dropout(dense(x))): the end of both sublayers."""

    def __init__(self, config: BertConfig, inputs: int) -> None:
        super().__init__()
        self.dense = linear(config, inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class BertAttention(nn.Layer):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertResidual(config, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(hidden, mask), hidden)


class BertLayer(nn.Layer):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = chain(
            dense=linear(config, config.hidden_size, config.intermediate_size),
            intermediate_act_fn=ACTIVATIONS[config.hidden_act](),
        )
        self.output = BertResidual(config, config.intermediate_size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.attention(hidden, mask)
        return self.output(self.intermediate(hidden), hidden)


class BertEncoder(nn.Layer):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.LayerList([BertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layer:
            hidden = layer(hidden, mask)
        return hidden


@dataclass(frozen=True)
class BertConfig:
    """Every option, under transformers' names; the defaults are those of BERT-base, uncased.

    Raises ValueError for an unsupported value.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
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
    num_labels: int = 2
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
    def from_dict(cls, raw: Mapping[str, Any]) -> BertConfig:
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


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {  # keys of a config.json that have one value here: any other would be another function
    "model_type": "bert", "position_embedding_type": "absolute", "is_decoder": False, "is_encoder_decoder": False,
    "add_cross_attention": False, "tie_encoder_decoder": False, "pruned_heads": {}, "pool_act": "tanh", "fuse": False,
}
_HARMLESS = frozenset({  # keys that leave the function alone: book-keeping, outputs, memory, generation, the pooler
    "_attn_implementation_autoset", "_name_or_path", "_num_labels", "architectures", "directionality", "dtype",
    "finetuning_task", "id2label", "label2id", "prefix", "task_specific_params", "tf_legacy_loss", "tokenizer_class",
    "torch_dtype", "torchscript", "transformers_version", "use_bfloat16", "output_attentions", "output_hidden_states",
    "output_past", "return_dict", "use_cache", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "gradient_checkpointing", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "begin_suppress_tokens", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "length_penalty",
    "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_scores", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens",
    "temperature", "top_k", "top_p", "typical_p", "pooler_fc_size", "pooler_num_attention_heads",
    "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
})

VARIANTS = {
    "tiny": {"vocab_size": 211, "hidden_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
             "intermediate_size": 56, "max_position_embeddings": 48, "num_labels": 5},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "base-cased": {"vocab_size": 28996},
    "large-cased": {"vocab_size": 28996, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                    "intermediate_size": 4096},
    "base-multilingual-uncased": {"vocab_size": 105879},
    "base-multilingual-cased": {"vocab_size": 119547},
    "base-chinese": {"vocab_size": 21128},
    "zh-wwm-ext": {"vocab_size": 21128},
    "zh-wwm-ext-large": {"vocab_size": 21128, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                         "intermediate_size": 4096},
    "zh-rbt3": {"vocab_size": 21128, "num_hidden_layers": 3},
    "zh-rbt4": {"vocab_size": 21128, "num_hidden_layers": 4},
    "zh-rbt6": {"vocab_size": 21128, "num_hidden_layers": 6},
    "zh-rbtl3": {"vocab_size": 21128, "hidden_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 16,
                 "intermediate_size": 4096},
    "L2-H128": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
    "L4-H256": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    "L4-H512": {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048},
    "L8-H512": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 2048},
}
# fmt: on

TASKS = {
    "masked_lm": "BertForMaskedLM",
    "masked_lm_and_next_sentence": "BertForPreTraining",
    "next_sentence": "BertForNextSentencePrediction",
    "sequence_classification": "BertForSequenceClassification",
    "token_classification": "BertForTokenClassification",
    "question_answering": "BertForQuestionAnswering",
    "multiple_choice": "BertForMultipleChoice",
    "backbone": "BertModel",
}


def pooler(config: BertConfig) -> nn.Sequential:
    return chain(dense=linear(config, config.hidden_size, config.hidden_size), activation=nn.Tanh())


class BertModel(nn.Layer):
    """The encoder, and the pooler unless `pooling` is false."""

    def __init__(self, config: BertConfig, pooling: bool = True) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = pooler(config) if pooling else None

    def forward(self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "last_hidden_state" (B, L, D), and "pooler_output" (B, D)."""
        hidden = self.embeddings(input_ids, token_type_ids)
        if attention_mask is None:
            attention_mask = paddle.ones_like(input_ids)
        padding = 1.0 - attention_mask[:, None, None, :].astype(hidden.dtype)  # (B, 1, 1, L)
        hidden = self.encoder(hidden, padding * paddle.finfo(hidden.dtype).min)
        outputs = {"last_hidden_state": hidden}
        return outputs if self.pooler is None else outputs | {"pooler_output": self.pooler(hidden[:, 0])}


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


class BertHead(nn.Layer):
    """What the models with a head have in common; they add `score`, from hidden states to logits, and `loss`.

    With `pooling`, `score` is given the pooled first token (B, D) instead of every hidden state (B, L, D).
    """

    pooling = False
    loss: nn.Layer

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config, self.pooling)

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L). Returns "logits" and, given labels, the scalar "loss"."""
        states = self.bert(input_ids, attention_mask, token_type_ids)
        return self.outputs(self.score(states["pooler_output" if self.pooling else "last_hidden_state"]), labels)

    def outputs(self, logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}

    def score(self, states: Tensor) -> Tensor:
        raise NotImplementedError


class BertDecoder(nn.Layer):
    """A score for each word. `weight` (V, D) is the word embedding table itself, unless the configuration unties it."""

    def __init__(self, config: BertConfig, table: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = table if config.tie_word_embeddings else embedding(config, config.vocab_size).weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return paddle.matmul(x, self.weight, transpose_y=True) + self.bias  # (B, L, D) → (B, L, V)


class BertPredictions(nn.Layer):
    """The masked language model's head. Its `bias` is the decoder's, by another name."""

    def __init__(self, config: BertConfig, table: Tensor) -> None:
        super().__init__()
        self.bias = self.create_parameter([config.vocab_size], is_bias=True)
        self.transform = chain(
            dense=linear(config, config.hidden_size, config.hidden_size),
            transform_act_fn=ACTIVATIONS[config.hidden_act](),
            LayerNorm=nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps),
        )
        self.decoder = BertDecoder(config, table, self.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.decoder(self.transform(hidden))


class BertPreTrainingHeads(nn.Layer):
    def __init__(self, config: BertConfig, table: Tensor) -> None:
        super().__init__()
        self.predictions = BertPredictions(config, table)
        self.seq_relationship = linear(config, config.hidden_size, 2)

    def forward(self, hidden: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictions(hidden), self.seq_relationship(pooled)  # (B, L, V) and (B, 2)


class BertForPreTraining(nn.Layer):
    """Masked words and next sentences learned together (paper, section 3.1)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config)
        self.cls = BertPreTrainingHeads(config, self.bert.embeddings.word_embeddings.weight)
        self.loss = CrossEntropy()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Ids = None,
        token_type_ids: Ids = None,
        labels: Ids = None,
        next_sentence_label: Ids = None,
    ) -> dict[str, Tensor]:
        """Ids, mask and types are (B, L), `labels` (B, L) and `next_sentence_label` (B,) as for the two heads alone.

        Returns "prediction_logits" (B, L, V), "seq_relationship_logits" (B, 2) and, given both labels, "loss", the sum
        of both.
        """
        states = self.bert(input_ids, attention_mask, token_type_ids)
        words, sentences = self.cls(states["last_hidden_state"], states["pooler_output"])
        outputs = {"prediction_logits": words, "seq_relationship_logits": sentences}
        if labels is not None and next_sentence_label is not None:
            outputs["loss"] = self.loss(words, labels) + self.loss(sentences, next_sentence_label)
        return outputs


class BertForMaskedLM(BertHead):
    """Labels (B, L): the original word where one is to be predicted, else −100. Logits (B, L, V)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.cls = chain(predictions=BertPredictions(config, self.bert.embeddings.word_embeddings.weight))
        self.loss = CrossEntropy()

    def score(self, states: Tensor) -> Tensor:
        return self.cls(states)


class BertForNextSentencePrediction(BertHead):
    """Whether the second text follows the first. Labels (B,): 0 it does, 1 it is from elsewhere. Logits (B, 2)."""

    pooling = True

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.cls = chain(seq_relationship=linear(config, config.hidden_size, 2))
        self.loss = CrossEntropy()

    def score(self, states: Tensor) -> Tensor:
        return self.cls(states)


class BertForSequenceClassification(BertHead):
    """One class for the sequence, or with a single label a number. Labels (B,), logits (B, C)."""

    pooling = True

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, config.num_labels)
        self.loss = SquaredError() if config.regression else CrossEntropy()

    def score(self, states: Tensor) -> Tensor:
        return self.classifier(self.dropout(states))


class BertForTokenClassification(BertHead):
    """One class for each token. Labels (B, L), −100 ignored; logits (B, L, C)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, config.num_labels)
        self.loss = CrossEntropy()

    def score(self, states: Tensor) -> Tensor:
        return self.classifier(self.dropout(states))


class BertForQuestionAnswering(nn.Layer):
    """Where an answer starts and ends: two logits per token, whatever `num_labels` is."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config, pooling=False)
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
        hidden = self.bert(input_ids, attention_mask, token_type_ids)["last_hidden_state"]
        start_logits, end_logits = self.qa_outputs(hidden).unbind(-1)  # (B, L, 2) → twice (B, L)
        outputs = {"start_logits": start_logits, "end_logits": end_logits}
        if start_positions is not None and end_positions is not None:
            outputs["loss"] = (self.loss(start_logits, start_positions) + self.loss(end_logits, end_positions)) / 2
        return outputs


class BertForMultipleChoice(BertHead):
    """One of C sequences. Ids, mask and types (B, C, L), labels (B,), logits (B, C)."""

    pooling = True

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = linear(config, config.hidden_size, 1)
        self.loss = CrossEntropy()

    def forward(
        self, input_ids: Tensor, attention_mask: Ids = None, token_type_ids: Ids = None, labels: Ids = None
    ) -> dict[str, Tensor]:
        flat = (None if ids is None else ids.flatten(0, 1) for ids in (input_ids, attention_mask, token_type_ids))
        logits = self.score(self.bert(*flat)["pooler_output"]).reshape(input_ids.shape[:2])  # (B·C, 1) → (B, C)
        return self.outputs(logits, labels)

    def score(self, states: Tensor) -> Tensor:
        return self.classifier(self.dropout(states))
