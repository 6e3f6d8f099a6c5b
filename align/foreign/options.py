"""What the options of a configuration mean, by the words that people use for them."""

import enum
import re
from collections.abc import Mapping
from typing import Any


class Kind(enum.Enum):
    """A size, or another thing that a small configuration has to set."""

    VOCABULARY = r"(text_)?vocab_size|n_vocab|n_token|num_tokens"
    HIDDEN = r"hidden_size|d_model|n_embd|dim|embed_dim|model_dim|hidden_dim_size"
    INNER = r"intermediate_size|ffn_dim|d_inner|dff|d_ff|hidden_dim|n_inner|inner_dim|ffn_hidden_size|mlp_dim"
    ENCODER_INNER = r"encoder_ffn_dim"
    DECODER_INNER = r"decoder_ffn_dim"
    LAYERS = r"num_hidden_layers|n_layers?|num_layers|num_encoder_layers|encoder_layers|depth|layers"
    DECODER_LAYERS = r"num_decoder_layers|decoder_layers"
    HEADS = r"num_attention_heads|n_heads?|num_heads|encoder_attention_heads|heads"
    DECODER_HEADS = r"decoder_attention_heads"
    GROUPED_HEADS = r"num_key_value_heads|n_kv_heads"
    HEAD = r"d_head|d_kv|head_dim|attention_head_size"
    ROTARY = r"rotary_dim|rotary_ndims"
    POSITIONS = r"max_position_embeddings|n_positions|max_seq_len|n_ctx|seq_length|max_len"
    TYPES = r"type_vocab_size|n_segments"
    EMBEDDING = r"embedding_size|word_embed_proj_dim|emb_size"
    BOTTLENECK = r"intra_bottleneck_size|true_hidden_size"
    PROJECTION = r"projection_dim|proj_dim"
    IMAGE = r"image_size|img_size"
    PATCH = r"patch_size"
    CHANNELS = r"num_channels|in_chans|in_channels"
    MELS = r"num_mel_bins|n_mels|feature_size"
    BLOCKS = r"block_sizes"
    LABELS = r"num_labels|num_classes"
    ACTIVATION = r"hidden_act|activation_function|activation|ff_activation|act_fn|hidden_activation"
    EPS = r"layer_norm_eps|layer_norm_epsilon|norm_eps|rms_norm_eps"
    DROPOUT = r".*drop(out|_?path|layer)?(_rate|_prob)?|.*_pdrop|.*layer_?drop"
    NORM_FIRST = r"do_layer_norm_before|normalize_before|norm_first|pre_norm"


def kind_of(option: str) -> Kind | None:
    """What an option means, None for what is not known."""
    return next((kind for kind in Kind if re.fullmatch(kind.value, option)), None)


def find_size(config: Mapping[str, Any], kind: Kind) -> int | None:
    """The first number of a kind in a configuration, looked for in its parts too."""
    for option, value in config.items():
        if kind_of(option) is kind and isinstance(value, int) and not isinstance(value, bool):
            return value
    parts = (value for value in config.values() if isinstance(value, Mapping))
    return next((found for part in parts if (found := find_size(part, kind)) is not None), None)
