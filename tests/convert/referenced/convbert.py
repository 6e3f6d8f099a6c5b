"""ConvBERT's classes in both references. PaddleNLP's other heads read a pooler, which transformers lacks."""

from transformers import ConvBertConfig

CONFIG = ConvBertConfig(
    vocab_size=61,
    embedding_size=12,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=30,
    num_groups=3,
    conv_kernel_size=5,
    max_position_embeddings=19,
    pad_token_id=0,
)
HEADS = [
    ("ConvBertForMaskedLM", "ConvBertGenerator"),
    ("ConvBertForTokenClassification", "ConvBertForTokenClassification"),
    ("ConvBertForQuestionAnswering", "ConvBertForQuestionAnswering"),
    ("ConvBertModel", "ConvBertModel"),
]
MISSING = r"(convbert\.)?pooler\.dense\.(weight|bias)"  # what PaddleNLP has in addition, and none of these heads reads
