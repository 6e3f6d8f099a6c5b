"""ConvBERT. PaddleNLP renames every encoder module, calls the span head `classifier`, and stores no decoder weight.

Convolutions and grouped matrices have the same axes everywhere but in the authors' checkpoints. The bias of a separable
convolution is (A, 1) in ours and transformers', (A,) in the others. PaddleNLP's sentence heads read a pooler, which
transformers lacks, so that these heads cannot go from one to the other; nor can a model whose attention heads the other
makes in another number or width from the same options (`heads_as`).

The authors' code is ELECTRA's with another attention: embeddings and both heads of pre-training have its names in every
layout, and a TensorFlow checkpoint holds generator and discriminator, which share their embeddings.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from convert.errors import ConvertError
from convert.layouts.electra import (
    DISCRIMINATOR,
    EMBEDDINGS,
    GENERATOR,
    TF_DISCRIMINATOR,
    TF_EMBEDDINGS,
    TF_GENERATOR,
)
from convert.ops import Alias, Drop, GroupedLinear, Keep, Reshape
from convert.originals import Original, count
from convert.rules import (
    Config,
    Pairs,
    Rule,
    Rules,
    drop,
    identity,
    keep,
    linear,
    norm,
    own_names,
    required,
    tf_linear,
    tf_norm,
    training_state,
    under,
)

BARE, D, G, BOTH = "ConvBertModel", "ConvBertForPreTraining", "ConvBertForMaskedLM", "ConvBertForJointPreTraining"
TOKENS, SPAN = "ConvBertForTokenClassification", "ConvBertForQuestionAnswering"
SENTENCE, CHOICE = "ConvBertForSequenceClassification", "ConvBertForMultipleChoice"


def grouped(source: str, target: str) -> Rules:
    """A matrix of the feed-forward, in groups or not, and its bias."""
    return (
        Rule(f"{source}.weight", f"{target}.weight", GroupedLinear()),
        *keep(f"{source}.bias", f"{target}.bias"),
    )


ENCODER: Rules = (
    *linear("embeddings_project"),
    *linear("encoder.layer.{}.attention.self.query", "encoder.layers.{}.self_attn.q_proj"),
    *linear("encoder.layer.{}.attention.self.key", "encoder.layers.{}.self_attn.k_proj"),
    *linear("encoder.layer.{}.attention.self.value", "encoder.layers.{}.self_attn.v_proj"),
    *keep(
        "encoder.layer.{}.attention.self.key_conv_attn_layer.depthwise.weight",
        "encoder.layers.{}.self_attn.key_conv_attn_layer.depthwise.weight",
    ),
    *keep(
        "encoder.layer.{}.attention.self.key_conv_attn_layer.pointwise.weight",
        "encoder.layers.{}.self_attn.key_conv_attn_layer.pointwise.weight",
    ),
    Rule(
        "encoder.layer.{}.attention.self.key_conv_attn_layer.bias",
        "encoder.layers.{}.self_attn.key_conv_attn_layer.bias",
        Reshape("out 1", "out"),
    ),
    *linear("encoder.layer.{}.attention.self.conv_kernel_layer", "encoder.layers.{}.self_attn.conv_kernel_layer"),
    *linear("encoder.layer.{}.attention.self.conv_out_layer", "encoder.layers.{}.self_attn.conv_out_layer"),
    *linear("encoder.layer.{}.attention.output.dense", "encoder.layers.{}.self_attn.out_proj"),
    *norm("encoder.layer.{}.attention.output.LayerNorm", "encoder.layers.{}.norm1"),
    *grouped("encoder.layer.{}.intermediate.dense", "encoder.layers.{}.linear1"),
    *grouped("encoder.layer.{}.output.dense", "encoder.layers.{}.linear2"),
    *norm("encoder.layer.{}.output.LayerNorm", "encoder.layers.{}.norm2"),
)


def pooled(config: Config) -> Pairs:
    """Nothing stands for {} in the pooler's names. ConvertError for a sentence head of PaddleNLP's without pooler."""
    if config.get("pool_act") is None and {SENTENCE, CHOICE} & set(config.get("architectures") or ()):
        raise ConvertError(
            "PaddleNLP's sequence classification and multiple choice read a pooler, which this model lacks; if the "
            'checkpoint has one, write "pool_act": "tanh" into its config.json'
        )
    return (((), ()),)


POOLER: Rules = linear("pooler.dense")
BODY: Rules = (*EMBEDDINGS, *ENCODER, *(replace(rule, numbers=pooled) for rule in POOLER))

HEADS: Rules = (
    *linear("classifier.dense"),  # sequence classification
    *linear("classifier.out_proj"),
    *linear("classifier", only=(TOKENS, CHOICE)),
    *linear("qa_outputs", "classifier", only=(SPAN,)),
)

SUMMARY: Rules = linear("sequence_summary.summary")  # multiple choice without a pooler


def decoder(prefix: str, table: str) -> Rules:
    """The generator's decoder: the word embedding `table` by another name."""
    tied = Alias(of=table, beside=f"{prefix}generator_lm_head.bias", option="tie_word_embeddings")
    return (Rule(f"{prefix}generator_lm_head.weight", None, tied),)


def shared_embeddings() -> Rules:
    """In joint pre-training the generator's embeddings are the discriminator's, as in ELECTRA's."""
    theirs = under("discriminator.convbert.", EMBEDDINGS)
    beside = "generator.generator_predictions.dense.weight"
    pairs = zip(under("generator.convbert.", EMBEDDINGS), theirs, strict=True)
    return tuple(replace(rule, op=Alias(str(of.source), beside)) for rule, of in pairs)


SINGLE: Rules = (
    *BODY,  # the bare encoder
    *under("convbert.", BODY),
    *DISCRIMINATOR,
    *GENERATOR,
    *decoder("", "convbert.embeddings.word_embeddings.weight"),
    *HEADS,
)

JOINT: Rules = (
    *under("discriminator.", (*under("convbert.", BODY), *DISCRIMINATOR)),
    *shared_embeddings(),
    *under("generator.", (*under("convbert.", (*ENCODER, *POOLER)), *GENERATOR)),
    *decoder("generator.", "discriminator.convbert.embeddings.word_embeddings.weight"),
)


def unsqueezed(rules: Rules) -> Rules:
    """The same without what is peculiar to PaddleNLP: its bias of one axis, its sentence heads' pooler."""
    return tuple(replace(rule, op=Keep() if type(rule.op) is Reshape else rule.op, numbers=None) for rule in rules)


def unread(config: Config) -> Pairs:
    """As `pooled`, where the pooler is known to be read by nothing; no name at all where it may be."""
    held = set(config.get("architectures") or (SENTENCE,))
    return () if held & {SENTENCE, CHOICE, BOTH} else (((), ()),)


def left_out(source: str, reason: str) -> Rule:
    """A tensor of ours that the layout has no place for, and may do without."""
    return Rule(source, None, Drop(reason), numbers=unread)


OURS: Rules = (*unsqueezed((*SINGLE, *JOINT)), *SUMMARY)
HF: Rules = (
    *identity((*(rule for rule in unsqueezed(SINGLE) if "pooler" not in str(rule.source)), *SUMMARY)),
    *(
        left_out(f"{prefix}pooler.dense.{name}", "PaddleNLP's pooler, which this model does not read")
        for prefix in ("", "convbert.")
        for name in ("weight", "bias")
    ),
    *drop("embeddings.position_ids", "a buffer, 0 … L-1"),
    *drop("convbert.embeddings.position_ids", "a buffer, 0 … L-1"),
)


def layers(depth: str, divided: bool) -> Callable[[Config], Pairs]:
    """The layers whose feed-forward is `divided` into groups, or is not; `depth` is the option that counts them."""

    def numbers(config: Config) -> Pairs:
        if (config.get("num_groups", config.get("linear_groups", 1)) > 1) != divided:
            return ()
        return tuple(((n,), (n,)) for n in range(config.get(depth) or required(config, "num_hidden_layers")))

    return numbers


def tf_feed_forward(name: str, depth: str) -> Rules:
    """A matrix of the feed-forward, in one piece ("dense") or in groups ("g_dense")."""
    ours, theirs = f"encoder.layer.{{}}.{name}.dense", f"encoder/layer_{{}}/{name}"
    whole = tf_linear(ours, f"{theirs}/dense")
    groups = (*keep(f"{ours}.weight", f"{theirs}/g_dense/kernel"), *keep(f"{ours}.bias", f"{theirs}/g_dense/bias"))
    return (
        *(replace(rule, numbers=layers(depth, divided=False)) for rule in whole),
        *(replace(rule, numbers=layers(depth, divided=True)) for rule in groups),
    )


def tf_layers(depth: str) -> Rules:
    """What a TensorFlow checkpoint has of an encoder; `depth` is the option that counts its layers."""
    own, theirs = "encoder.layer.{}.attention.self", "encoder/layer_{}/attention/self"
    key, their_key = f"{own}.key_conv_attn_layer", f"{theirs}/conv_attn_key"
    return (
        *tf_linear("embeddings_project", "embeddings_project"),
        *tf_linear(f"{own}.query", f"{theirs}/query"),
        *tf_linear(f"{own}.key", f"{theirs}/key"),
        *tf_linear(f"{own}.value", f"{theirs}/value"),
        Rule(
            f"{key}.depthwise.weight", f"{their_key}/depthwise_kernel", Reshape("channels 1 width", "width channels 1")
        ),
        Rule(f"{key}.pointwise.weight", f"{their_key}/pointwise_kernel", Reshape("out in 1", "1 in out")),
        Rule(f"{key}.bias", f"{their_key}/bias", Reshape("out 1", "out")),
        *tf_linear(f"{own}.conv_kernel_layer", f"{theirs}/conv_attn_kernel"),
        *tf_linear(f"{own}.conv_out_layer", f"{theirs}/conv_attn_point"),
        *tf_linear("encoder.layer.{}.attention.output.dense", "encoder/layer_{}/attention/output/dense"),
        *tf_norm("encoder.layer.{}.attention.output.LayerNorm", "encoder/layer_{}/attention/output/LayerNorm"),
        *tf_feed_forward("intermediate", depth),
        *tf_feed_forward("output", depth),
        *tf_norm("encoder.layer.{}.output.LayerNorm", "encoder/layer_{}/output/LayerNorm"),
    )


TF_ENCODER, TF_GENERATORS = tf_layers("num_hidden_layers"), tf_layers("generator_num_hidden_layers")


def tf_encoder(ours: str, scope: str, only: tuple[str, ...]) -> Rules:
    """Our encoder under the prefix `ours`, whose layers TensorFlow has in `scope`, its embeddings with the rest."""
    return (*under(ours, TF_EMBEDDINGS, "electra/", only=only), *under(ours, TF_ENCODER, f"{scope}/", only=only))


TF: Rules = (
    *tf_encoder("", "electra", only=(BARE,)),
    *tf_encoder("convbert.", "electra", only=(D,)),
    *under("", TF_DISCRIMINATOR, only=(D,)),
    *tf_encoder("convbert.", "generator", only=(G,)),
    *under("", TF_GENERATOR, only=(G,)),
    *under("", decoder("", "convbert.embeddings.word_embeddings.weight"), only=(G,)),
    *tf_encoder("discriminator.convbert.", "electra", only=(BOTH,)),
    *under("discriminator.", TF_DISCRIMINATOR, "", only=(BOTH,)),
    *(replace(rule, target=None, only=(BOTH,)) for rule in shared_embeddings()),
    *under("generator.convbert.", TF_GENERATORS, "generator/", only=(BOTH,)),
    *under("generator.", TF_GENERATOR, "", only=(BOTH,)),
    *under("", decoder("generator.", "discriminator.convbert.embeddings.word_embeddings.weight"), only=(BOTH,)),
    *drop("generator/*", "the generator, which --part generator takes", only=(D,)),
    *drop("generator_predictions/*", "the generator's head, which --part generator takes", only=(D,)),
    *drop("electra/encoder/*", "the discriminator, which --part discriminator takes", only=(G,)),
    *drop("electra/embeddings_project/*", "the discriminator, which --part discriminator takes", only=(G,)),
    *drop("discriminator_predictions/*", "the discriminator's head, which --part discriminator takes", only=(G,)),
    *training_state(),
)

CLASSES = {"paddlenlp": {D: "ConvBertDiscriminator", G: "ConvBertGenerator"}}
NAMES = {"transformers": "transformers", "paddlenlp": "PaddleNLP"}


def in_words_of(library: str) -> Callable[[Config], dict[str, Any]]:
    """A library makes its heads in one way, without a word for it; only PaddleNLP has poolers, and always."""

    def spelled(config: Config) -> dict[str, Any]:
        whose = config.get("heads_as", "transformers")
        if whose != library and heads(config, whose) != heads(config, library):
            number, ratio = sizes_of_heads(config)
            raise ConvertError(
                f'{NAMES[library]} makes other heads of "num_attention_heads": {number}, "head_ratio": {ratio} than '
                f'this model has, whose "heads_as" is "{whose}"; there is no such model in {NAMES[library]}'
            )
        words = {"num_groups": config["linear_groups"]} if "linear_groups" in config else {}  # as the authors call it
        silent = {"heads_as", "linear_groups"}
        if library == "transformers" or not config.get("pool_act"):
            silent |= {"pool_act"}
        return {word: value for word, value in {**words, **config}.items() if word not in silent}

    return spelled


def heads(config: Config, whose: str) -> tuple[int, bool]:
    """Into how many parts the hidden width falls, each as wide as a head, and whether there are convolutions."""
    number, ratio = sizes_of_heads(config)
    parts = 2 * max(1, number // ratio) if whose == "transformers" else number
    return parts, whose != "paddlenlp" or number >= ratio


def sizes_of_heads(config: Config) -> tuple[int, int]:
    """`num_attention_heads` and `head_ratio`; ConvertError if these are not whole numbers."""
    number, ratio = config.get("num_attention_heads", 12), config.get("head_ratio", 2)
    if not (isinstance(number, int) and isinstance(ratio, int) and number > 0 and ratio > 0):
        raise ConvertError(
            f'config.json says "num_attention_heads": {number!r}, "head_ratio": {ratio!r}; these are whole numbers, '
            "at least 1"
        )
    return number, ratio


SPELLING = {library: in_words_of(library) for library in NAMES}
DEFAULTS = {"paddlenlp": {"heads_as": ("transformers", "paddlenlp"), "pool_act": (None, "tanh")}}
TOLD_BY = {"paddlenlp": {"pool_act": "pooler.dense.weight"}}

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names(OURS),
    "paddlenlp": SINGLE,  # its joint model cannot run: its discriminator takes a tuple for hidden states
    "transformers": HF,
    "tf": TF,
}

PARTS = {"discriminator": D, "generator": G, "joint": BOTH}
MARK = "electra/encoder/layer_0/attention/self/conv_attn_key/depthwise_kernel"  # ELECTRA's have all others


def derive(shapes: Mapping[str, tuple[int, ...]], original: Config, part: str | None) -> dict[str, Any]:
    """config.json of one of the authors' checkpoints, from the shapes of its tensors.

    What these do not tell is as published (yitu-opensource/ConvBert): GELU, dropout 0.1.
    """
    heads = {
        "discriminator": "discriminator_predictions/dense/kernel",
        "generator": "generator_predictions/dense/kernel",
    }
    held = [name for name, head in heads.items() if head in shapes]
    if part is None and len(held) > 1:
        raise ConvertError("holds a discriminator and a generator: choose by --part discriminator, generator or joint")
    part = part or next(iter(held), None)
    if missing := [name for name in heads if part in (name, "joint") and name not in held]:
        raise ConvertError(f"holds no {' and no '.join(missing)}")
    words, embedding = shapes["electra/embeddings/word_embeddings"]
    scope = "generator" if part == "generator" else "electra"
    sizes = _sizes(shapes, scope)
    if part == "joint":
        sizes |= {f"generator_{name}": size for name, size in _sizes(shapes, "generator").items()}
    return {
        "model_type": "convbert",
        "architectures": [PARTS[part] if part else BARE],
        "vocab_size": words,
        "embedding_size": embedding,
        **sizes,
        **_convolutions(shapes, scope, sizes),
        "max_position_embeddings": shapes["electra/embeddings/position_embeddings"][0],
        "type_vocab_size": shapes["electra/embeddings/token_type_embeddings"][0],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }


def _sizes(shapes: Mapping[str, tuple[int, ...]], scope: str) -> dict[str, int]:
    layer = f"{scope}/encoder/layer_0"
    hidden, width = shapes[f"{layer}/attention/self/query/kernel"]
    own = _own_heads(shapes, scope)
    groups, _, inner = shapes.get(f"{layer}/intermediate/g_dense/kernel") or (
        1,
        *shapes[f"{layer}/intermediate/dense/kernel"],
    )
    return {
        "hidden_size": hidden,
        "num_hidden_layers": count(shapes, f"{scope}/encoder/layer_{{}}/attention/self/query/kernel"),
        "num_attention_heads": hidden * own // width,  # as many as there would be without convolutions
        "intermediate_size": groups * inner,
    }


def _own_heads(shapes: Mapping[str, tuple[int, ...]], scope: str) -> int:
    """The number of convolutions, and so of attention heads: each makes a kernel."""
    attention = f"{scope}/encoder/layer_0/attention/self"
    return shapes[f"{attention}/conv_attn_kernel/kernel"][1] // shapes[f"{attention}/conv_attn_key/depthwise_kernel"][0]


def _convolutions(shapes: Mapping[str, tuple[int, ...]], scope: str, sizes: Mapping[str, int]) -> dict[str, int | str]:
    layer, heads = f"{scope}/encoder/layer_0", sizes["num_attention_heads"]
    return {
        "conv_kernel_size": shapes[f"{layer}/attention/self/conv_attn_key/depthwise_kernel"][0],
        "head_ratio": heads // _own_heads(shapes, scope) if heads > 1 else 2,
        "heads_as": "original",
        "num_groups": shapes.get(f"{layer}/intermediate/g_dense/kernel", (1,))[0],
    }


ORIGINAL = Original(MARK, derive, parts=PARTS)
