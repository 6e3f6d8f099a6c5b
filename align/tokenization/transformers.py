"""transformers' tokenisers, in Python ("slow") and in Rust ("fast")."""

import warnings

from align.tokenization import PackageTokenizer, Recipe, class_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

CUTS_WORDS = frozenset({"roformer"})  # its own class cuts words by jieba; its checkpoints of characters use BERT's


def tokenizers(recipe: Recipe) -> dict[str, PackageTokenizer]:
    """The tokenisers of an architecture by name. Offsets come from the fast one only."""
    transformers.logging.set_verbosity_error()
    built = {}
    for name, suffix, fast in (("slow", "Tokenizer", False), ("fast", "TokenizerFast", True)):
        kind = class_of(transformers, "bert" if recipe.model in CUTS_WORDS else recipe.model, suffix)
        built[name] = PackageTokenizer(kind(str(recipe.vocabulary), **recipe.options), offsets=fast)
    return built
