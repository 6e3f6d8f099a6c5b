"""Funnel's classes in both references."""

from transformers import FunnelConfig

CONFIG = FunnelConfig(
    vocab_size=61, block_sizes=[2, 1], num_decoder_layers=1, d_model=20, n_head=4, d_head=6, d_inner=28
)
HEADS = [
    ("FunnelForMaskedLM", "FunnelForMaskedLM"),
    ("FunnelForPreTraining", "FunnelForPreTraining"),
    ("FunnelForSequenceClassification", "FunnelForSequenceClassification"),
    ("FunnelForTokenClassification", "FunnelForTokenClassification"),
    ("FunnelForQuestionAnswering", "FunnelForQuestionAnswering"),
    ("FunnelForMultipleChoice", "FunnelForMultipleChoice"),
    ("FunnelModel", "FunnelModel"),
    ("FunnelBaseModel", "FunnelBaseModel"),
]
PADDLENLP_OPTIONS = {"return_dict": True}  # its Funnel cannot do without
