"""What drafts call where Paddle's layers start otherwise than torch's: functions that go into the draft itself."""

HELPERS = {
    "_linear": '''
def _linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """A Linear that starts as torch's does: weights and biases uniform in ±1/√in_features."""
    start = ParamAttr(initializer=Uniform(-(in_features**-0.5), in_features**-0.5))
    return nn.Linear(in_features, out_features, weight_attr=start, bias_attr=start if bias else False)
''',
    "_embedding": '''
def _embedding(num_embeddings: int, embedding_dim: int) -> nn.Embedding:
    """A table that starts as torch's does, from N(0, 1)."""
    return nn.Embedding(num_embeddings, embedding_dim, weight_attr=ParamAttr(initializer=Normal(0.0, 1.0)))
''',
    "_conv": '''
def _conv(kind: type, in_channels: int, out_channels: int, kernel_size: Any, bias: bool = True, **options: Any) -> Any:
    """A convolution that starts as torch's does: uniform in ±1/√(inputs of one output)."""
    shape = kind(in_channels, out_channels, kernel_size, **options).weight.shape
    bound = math.prod(shape[1:]) ** -0.5
    start = ParamAttr(initializer=Uniform(-bound, bound))
    attributes = {"weight_attr": start, "bias_attr": start if bias else False}
    return kind(in_channels, out_channels, kernel_size, **options, **attributes)
''',
}
HELPER_IMPORTS = {
    "_linear": ("from paddle import ParamAttr", "from paddle.nn.initializer import Uniform"),
    "_embedding": ("from paddle import ParamAttr", "from paddle.nn.initializer import Normal"),
    "_conv": (
        "import math",
        "from typing import Any",
        "from paddle import ParamAttr",
        "from paddle.nn.initializer import Uniform",
    ),
}
