"""What of torch a draft is certain of, as data: torch's call, Paddle's, and examples that tests run on both sides.

`torch` is a signature: parameters by name and order, with torch's defaults. `paddle` is the call that takes its place,
in which a parameter's name stands for what was given; None: the same but for the package's name. An argument that was
not given is left out where Paddle names it by keyword, and is torch's default where it stands by position. One that
`paddle` does not take must be torch's default, or is of no account on a CPU (`IGNORED`); all else is left to the user.

In signatures `tensor` is the tensor whose method is called, `F` torch.nn.functional. In examples x and y are float64
(2, 3, 4), v (4,), w (5, 4), i int64 (2, 3) below 5, m bool (2, 3, 4); `filled` gives a module weights.
"""

from dataclasses import dataclass

IGNORED = frozenset({"device", "inplace", "non_blocking", "pin_memory", "memory_format", "requires_grad", "layout"})


@dataclass(frozen=True)
class Rule:
    """One call of torch's; `hint` is for the user where it has no counterpart (then `paddle` is "")."""

    torch: str
    paddle: str | None = None
    examples: tuple[str, ...] = ()
    hint: str = ""


def _same(*calls: tuple[str, ...]) -> tuple[Rule, ...]:
    """Calls that are alike in both: the signature, then examples."""
    return tuple(Rule(signature, None, tuple(examples)) for signature, *examples in calls)


def _each(template: str, example: str, words: str) -> tuple[Rule, ...]:
    """The same signature and example for many words."""
    return tuple(Rule(template.format(word), None, (example.format(word),)) for word in words.split())


MODULES = (
    Rule(
        "nn.Linear(in_features, out_features, bias=True)",
        "_linear(in_features, out_features, bias=bias)",
        ("filled(nn.Linear(4, 5))(x)", "filled(nn.Linear(4, 5, bias=False))(x)"),
    ),
    Rule(
        "nn.Embedding(num_embeddings, embedding_dim, padding_idx=None)",
        "_embedding(num_embeddings, embedding_dim)",
        ("filled(nn.Embedding(5, 3))(i)",),
        "Paddle returns zeros for the row of padding_idx",
    ),
    Rule(
        "nn.LayerNorm(normalized_shape, eps=1e-5, elementwise_affine=True, bias=True)",
        "nn.LayerNorm(normalized_shape, epsilon=eps)",
        ("filled(nn.LayerNorm(4))(x)", "filled(nn.LayerNorm(4, 2**-10))(x)"),
    ),
    Rule(
        "nn.Conv1d(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True)",
        "_conv(nn.Conv1D, in_channels, out_channels, kernel_size, bias, stride=stride, padding=padding, "
        "dilation=dilation, groups=groups)",
        ("filled(nn.Conv1d(3, 6, 3, padding=1))(x)", "filled(nn.Conv1d(3, 6, 2, groups=3, bias=False))(x)"),
    ),
    Rule(
        "nn.Conv2d(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True)",
        "_conv(nn.Conv2D, in_channels, out_channels, kernel_size, bias, stride=stride, padding=padding, "
        "dilation=dilation, groups=groups)",
        ("filled(nn.Conv2d(2, 3, (2, 3), stride=2, padding=1))(x.unsqueeze(0))",),
    ),
    Rule(
        "nn.GroupNorm(num_groups, num_channels, eps=1e-5, affine=True)",
        "nn.GroupNorm(num_groups, num_channels, epsilon=eps)",
        ("filled(nn.GroupNorm(1, 3, eps=2**-10))(x)",),
    ),
    Rule("nn.Dropout(p=0.5, inplace=False)", "nn.Dropout(p)", ("nn.Dropout(0.3).eval()(x)",)),
    Rule("nn.GELU(approximate='none')", None, ("nn.GELU()(x)", "nn.GELU(approximate='tanh')(x)")),
    Rule("nn.SiLU(inplace=False)", "nn.Silu()", ("nn.SiLU()(x)",)),
    Rule("nn.ReLU(inplace=False)", "nn.ReLU()", ("nn.ReLU(inplace=True)(x + 0)",)),
    Rule("nn.ELU(alpha=1.0)", None, ("nn.ELU(0.75)(x)",)),
    Rule("nn.LeakyReLU(negative_slope=0.01)", None, ("nn.LeakyReLU(0.2)(x)", "nn.LeakyReLU()(x)")),
    Rule("nn.Softmax(dim)", "nn.Softmax(axis=dim)", ("nn.Softmax(dim=1)(x)",)),
    Rule("nn.LogSoftmax(dim)", "nn.LogSoftmax(axis=dim)", ("nn.LogSoftmax(dim=1)(x)",)),
    Rule(
        "nn.Flatten(start_dim=1, end_dim=-1)",
        "nn.Flatten(start_dim, end_dim)",
        ("nn.Flatten()(x)", "nn.Flatten(0, 1)(x)"),
    ),
    Rule("nn.MSELoss()", None, ("nn.MSELoss()(x, y)",)),
    Rule("nn.Module()", "nn.Layer()"),
    Rule("nn.ModuleList(modules=[])", "nn.LayerList(modules)", ("nn.ModuleList([nn.Tanh()])[0](x)",)),
    Rule("nn.ModuleDict(modules={})", "nn.LayerDict(modules)", ("nn.ModuleDict({'a': nn.Tanh()})['a'](x)",)),
    Rule("nn.Sequential(*modules)", None, ("nn.Sequential(nn.Tanh(), nn.Sigmoid())(x)",)),
    Rule("nn.Parameter(data, requires_grad=True)", "nn.Parameter(data)", ("nn.Parameter(torch.ones(4)) * v",)),
    *_each("nn.{}()", "nn.{}()(x)", "Tanh Sigmoid Identity Softplus Hardswish Mish"),
    Rule(
        "nn.CrossEntropyLoss(*options)",
        "",
        hint="Paddle's counts ignored labels in its mean, and cuts a loss off at 64",
    ),
    Rule("nn.MultiheadAttention(*options)", "", hint="Paddle's has q, k and v apart, and True in a mask means attend"),
    Rule("nn.BatchNorm1d(*options)", "", hint="nn.BatchNorm1D: momentum is 1 - torch's, the variance is biased"),
    Rule("nn.BatchNorm2d(*options)", "", hint="nn.BatchNorm2D: momentum is 1 - torch's, the variance is biased"),
    Rule("nn.LSTM(*options)", "", hint="the same layout of weights; batch first by default, direction='bidirect'"),
    Rule("nn.GRU(*options)", "", hint="the same layout of weights; batch first by default, direction='bidirect'"),
)

FUNCTIONS = (
    Rule(
        "torch.cat(tensors, dim=0)",
        "paddle.concat(tensors, axis=dim)",
        ("torch.cat([x, y], dim=-1)", "torch.cat((x, y))"),
    ),
    Rule("torch.stack(tensors, dim=0)", "paddle.stack(tensors, axis=dim)", ("torch.stack([x, y], 1)",)),
    Rule(
        "torch.arange(*bounds, dtype=None, device=None)",
        "paddle.arange(*bounds, dtype=dtype)",
        ("torch.arange(5)", "torch.arange(1, 7, 2, device=x.device)", "torch.arange(0, 4, dtype=x.dtype)"),
    ),
    *(
        Rule(
            f"torch.{word}(*size, dtype=None, device=None)",
            f"paddle.{word}([*size], dtype=dtype)",
            (f"torch.{word}(2, 3)", f"torch.{word}((2, 3), dtype=torch.int64)", f"torch.{word}(x.shape)"),
        )
        for word in ("zeros", "ones")
    ),
    Rule(
        "torch.full(size, fill_value, dtype=None, device=None)",
        "paddle.full(size, fill_value, dtype=dtype)",
        ("torch.full((2, 3), 0.5)", "torch.full((2, 3), 7.0, dtype=x.dtype)"),
    ),
    Rule(
        "torch.tensor(data, dtype=None, device=None)",
        "paddle.to_tensor(data, dtype=dtype)",
        ("torch.tensor([1, 2])", "torch.tensor([1.0, 2.5], dtype=torch.float64)", "torch.tensor([[0.5, 1.0]]) * 2"),
    ),
    Rule("torch.eye(n, device=None)", "paddle.eye(n)", ("torch.eye(3)",)),
    Rule("torch.zeros_like(input)", None, ("torch.zeros_like(i)",)),
    Rule("torch.ones_like(input)", None, ("torch.ones_like(x)",)),
    Rule("torch.full_like(input, fill_value)", None, ("torch.full_like(x, 2.5)",)),
    Rule("torch.tril(input, diagonal=0)", None, ("torch.tril(x)", "torch.tril(x, -1)")),
    Rule("torch.triu(input, diagonal=0)", None, ("torch.triu(x, diagonal=1)",)),
    Rule("torch.where(condition, input, other)", None, ("torch.where(m, x, y)", "torch.where(m, x, 0.0)")),
    Rule("torch.einsum(equation, *operands)", None, ("torch.einsum('bij,bkj->bik', x, y)",)),
    Rule("torch.matmul(input, other)", None, ("torch.matmul(x, v)", "torch.matmul(x, y.transpose(1, 2))")),
    Rule("torch.bmm(input, mat2)", "paddle.bmm(input, mat2)", ("torch.bmm(x, y.transpose(1, 2))",)),
    Rule("torch.outer(input, vec2)", "paddle.outer(input, vec2)", ("torch.outer(v, v)",)),
    Rule("torch.maximum(input, other)", None, ("torch.maximum(x, y)",)),
    Rule("torch.minimum(input, other)", None, ("torch.minimum(x, y)",)),
    Rule(
        "torch.clamp(input, min=None, max=None)", "paddle.clip(input, min=min, max=max)", ("torch.clamp(x, min=0.1)",)
    ),
    Rule("torch.pow(input, exponent)", None, ("torch.pow(x, 3)",)),
    Rule(
        "torch.flip(input, dims)", "paddle.flip(input, axis=dims)", ("torch.flip(x, [1])", "torch.flip(x, dims=(0, 2))")
    ),
    Rule("torch.roll(input, shifts, dims)", "paddle.roll(input, shifts, axis=dims)", ("torch.roll(x, 1, dims=1)",)),
    Rule(
        "torch.chunk(input, chunks, dim=0)",
        "paddle.chunk(input, chunks, axis=dim)",
        ("torch.chunk(x, 2, dim=-1)",),
        "Paddle refuses what it cannot divide evenly",
    ),
    Rule(
        "torch.split(input, sizes, dim=0)",
        "paddle.compat.split(input, sizes, dim=dim)",
        ("torch.split(x, 1, dim=1)", "torch.split(x, [1, 3], dim=-1)", "torch.split(x, 3, dim=2)"),
    ),
    Rule("torch.unbind(input, dim=0)", "paddle.unbind(input, axis=dim)", ("torch.unbind(x, dim=1)", "torch.unbind(x)")),
    Rule("torch.softmax(input, dim)", "F.softmax(input, axis=dim)", ("torch.softmax(x, dim=1)",)),
    Rule(
        "torch.sum(input, dim, keepdim=False)", "paddle.sum(input, axis=dim, keepdim=keepdim)", ("torch.sum(x, dim=1)",)
    ),
    Rule(
        "torch.mean(input, dim, keepdim=False)",
        "paddle.mean(input, axis=dim, keepdim=keepdim)",
        ("torch.mean(x, dim=(0, 1), keepdim=True)",),
    ),
    Rule(
        "torch.cumsum(input, dim)", "paddle.cumsum(input, axis=dim)", ("torch.cumsum(i, dim=1)", "torch.cumsum(x, 0)")
    ),
    Rule("torch.finfo(type)", None, ("x * 0 + torch.finfo(x.dtype).min",)),
    Rule("torch.no_grad()"),
    Rule("torch.is_tensor(obj)"),
    *_each("torch.{}(input)", "torch.{}(x)", "exp abs square sin cos tanh sigmoid erf sign"),
    *_each("torch.{}(input)", "torch.{}(x * x + 1)", "log sqrt rsqrt log1p"),
    Rule("torch.relu(input)", "F.relu(input)", ("torch.relu(x)",)),
    *(
        Rule(
            f"torch.fft.{word}(input, n=None, dim=-1)",
            f"paddle.fft.{word}(input, n=n, axis=dim)",
            (f"torch.fft.{word}(x, dim=1)", f"torch.fft.{word}(x)"),
        )
        for word in ("fft", "ifft")
    ),
    Rule(
        "torch.fft.fft2(input, s=None, dim=(-2, -1))", "paddle.fft.fft2(input, s=s, axes=dim)", ("torch.fft.fft2(x)",)
    ),
    Rule(
        "torch.repeat_interleave(input, repeats, dim)",
        "paddle.repeat_interleave(input, repeats, axis=dim)",
        ("torch.repeat_interleave(x, 2, dim=1)",),
    ),
    Rule("torch.empty(*size)", "paddle.empty([*size])", hint="", examples=("torch.zeros(torch.empty(2, 3).shape)",)),
    Rule("torch.manual_seed(seed)", "paddle.seed(seed)"),
    Rule("F.softmax(input, dim)", "F.softmax(input, axis=dim)", ("F.softmax(x, dim=1)",)),
    Rule("F.log_softmax(input, dim)", "F.log_softmax(input, axis=dim)", ("F.log_softmax(x, dim=1)",)),
    Rule("F.gelu(input, approximate='none')", None, ("F.gelu(x)", "F.gelu(x, approximate='tanh')")),
    Rule(
        "F.layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5)",
        "F.layer_norm(input, normalized_shape, weight, bias, epsilon=eps)",
        ("F.layer_norm(x, (4,), v, v, 2**-10)",),
    ),
    Rule(
        "F.dropout(input, p=0.5, training=True)",
        "F.dropout(input, p, training=training)",
        ("F.dropout(x, 0.3, False)", "F.dropout(x, p=0.3, training=False)"),
    ),
    Rule(
        "F.linear(input, weight, bias=None)",
        "F.linear(input, weight.T, bias)",
        ("F.linear(x, w)", "F.linear(x, w, v[0] * w[:, 0])"),
    ),
    Rule("F.embedding(input, weight)", "F.embedding(input, weight)", ("F.embedding(i, w)",)),
    Rule(
        "F.normalize(input, p=2.0, dim=1)",
        "F.normalize(input, p, axis=dim)",
        ("F.normalize(x, dim=-1)", "F.normalize(x)"),
    ),
    Rule("F.silu(input)", None, ("F.silu(x)",)),
    *_each("F.{}(input)", "F.{}(x)", "relu sigmoid tanh softplus elu mish"),
    Rule(
        "F.binary_cross_entropy_with_logits(input, target, reduction='mean')",
        "F.binary_cross_entropy_with_logits(input, target, reduction=reduction)",
        ("F.binary_cross_entropy_with_logits(x, m.to(x.dtype), reduction='none')",),
    ),
    Rule("F.mse_loss(input, target)", None, ("F.mse_loss(x, y)",)),
    Rule(
        "F.pad(input, pad, mode='constant', value=0.0)",
        "",
        hint="of two numbers for each axis Paddle takes the first axis first",
    ),
    Rule("F.one_hot(tensor, num_classes)", "F.one_hot(tensor, num_classes).astype('int64')", ("F.one_hot(i, 5)",)),
    Rule("F.cross_entropy(*options)", "", hint="Paddle's counts ignored labels in its mean, and cuts a loss off at 64"),
    Rule(
        "F.scaled_dot_product_attention(*options)", "", hint="Paddle's takes (B, L, H, d) where torch has (B, H, L, d)"
    ),
    Rule("nn.init.normal_(tensor, mean=0.0, std=1.0)", None),
    Rule("nn.init.uniform_(tensor, a=0.0, b=1.0)", "nn.init.uniform_(tensor, a, b)"),
    Rule("nn.init.zeros_(tensor)"),
    Rule("nn.init.ones_(tensor)", None),
    Rule("nn.init.constant_(tensor, val)", "nn.init.constant_(tensor, val)"),
    Rule("nn.init.xavier_uniform_(tensor)", None),
    Rule("nn.init.xavier_normal_(tensor)", None),
    Rule("nn.init.trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0)", None),
)

# Methods of tensors.
METHODS = (
    *_same(
        ("tensor.view(*shape)", "x.view(2, -1)", "x.view((6, 4))", "x.view(x.shape)", "x.view(*x.shape[:2], 2, 2)"),
        ("tensor.reshape(*shape)", "x.reshape(2, -1)", "x.reshape([6, 4])"),
        ("tensor.transpose(dim0, dim1)", "x.transpose(1, 2)", "x.transpose(-2, -1)", "x.transpose(1, -1)"),
        ("tensor.permute(*dims)", "x.permute(2, 0, 1)", "x.permute((2, 0, 1))"),
        ("tensor.expand(*size)", "v.expand(3, -1)", "x[:, :1].expand(-1, 5, -1)", "v.expand((3, 4))"),
        ("tensor.expand_as(other)", "v.expand_as(x)"),
        ("tensor.flatten(start_dim=0, end_dim=-1)", "x.flatten()", "x.flatten(1)", "x.flatten(0, 1)"),
        ("tensor.unflatten(dim, sizes)", "x.unflatten(-1, (2, -1))"),
        ("tensor.size(dim)", "torch.zeros(x.size(1), x.size(-1))"),
        ("tensor.size()", "x.view(x.size())"),
        ("tensor.dim()", "torch.zeros(x.dim())"),
        ("tensor.contiguous()", "x.transpose(0, 1).contiguous().view(-1)"),
        ("tensor.masked_fill(mask, value)", "x.masked_fill(m, -1e9)", "x.masked_fill(m == 0, 0.5)"),
        ("tensor.matmul(other)", "x.matmul(y.transpose(1, 2))"),
        ("tensor.pow(exponent)", "x.pow(2)"),
        ("tensor.clone()", "x.clone()"),
        ("tensor.detach()", "x.detach()"),
        ("tensor.float()", "i.float()", "m.float()"),
        ("tensor.double()", "i.double()"),
        ("tensor.long()", "m.long()"),
        ("tensor.bool()", "i.bool()"),
        ("tensor.type_as(other)", "i.type_as(x)"),
        ("tensor.eq(other)", "x.eq(y)"),
        ("tensor.item()",),
        ("tensor.tolist()",),
        ("tensor.new_zeros(*size)", "x.new_zeros(3, 2)", "x.new_zeros((3, 2))"),
        ("tensor.new_ones(*size)", "x.new_ones(3, 2)"),
        ("tensor.normal_(mean=0.0, std=1.0)",),
        ("tensor.zero_()",),
        ("tensor.fill_(value)",),
        ("tensor.copy_(other)",),
    ),
    *_each("tensor.{}()", "x.{}()", "exp tanh sigmoid abs square erf sin cos"),
    *_each("tensor.{}()", "(x * x + 1).{}()", "log sqrt rsqrt"),
    Rule("tensor.new_full(size, fill_value)", None, ("x.new_full((3, 2), 0.5)",)),
    Rule("tensor.relu()", "F.relu(tensor)", ("x.relu()",)),
    Rule("tensor.numel()", "int(tensor.numel())", ("torch.zeros(x.numel())",)),
    Rule("tensor.unsqueeze(dim)", "tensor.unsqueeze(dim)", ("x.unsqueeze(1)", "x.unsqueeze(dim=-1)")),
    Rule("tensor.squeeze(dim)", "tensor.squeeze(dim)", ("x[:, :1].squeeze(1)", "x.squeeze(dim=-1)")),
    Rule("tensor.repeat(*sizes)", "tensor.tile([*sizes])", ("x.repeat(1, 2, 1)", "v.repeat(3, 1)", "v.repeat((2, 2))")),
    Rule("tensor.softmax(dim)", "F.softmax(tensor, axis=dim)", ("x.softmax(dim=-1)", "x.softmax(1)")),
    Rule("tensor.log_softmax(dim)", "F.log_softmax(tensor, axis=dim)", ("x.log_softmax(dim=-1)",)),
    Rule("tensor.sum()", None, ("x.sum()",)),
    Rule("tensor.mean()", None, ("x.mean()",)),
    *(
        Rule(
            f"tensor.{word}(dim, keepdim=False)",
            f"tensor.{word}(axis=dim, keepdim=keepdim)",
            (f"x.{word}(-1)", f"x.{word}(dim=1, keepdim=True)", f"x.{word}((0, 1))"),
        )
        for word in ("sum", "mean", "amax", "amin", "logsumexp")
    ),
    *(
        Rule(
            f"tensor.{word}(dim, unbiased=True, keepdim=False)",
            f"tensor.{word}(axis=dim, unbiased=unbiased, keepdim=keepdim)",
            (f"x.{word}(-1)", f"x.{word}(-1, keepdim=True)", f"x.{word}(dim=1, unbiased=False)"),
        )
        for word in ("var", "std")
    ),
    Rule("tensor.any(dim, keepdim=False)", "tensor.any(axis=dim, keepdim=keepdim)", ("m.any(dim=-1)",)),
    Rule("tensor.all(dim, keepdim=False)", "tensor.all(axis=dim, keepdim=keepdim)", ("m.all(-1, keepdim=True)",)),
    Rule("tensor.argmax(dim)", "tensor.argmax(axis=dim)", ("x.argmax(dim=-1)",)),
    Rule("tensor.max()", None, ("x.max()",)),
    Rule("tensor.min()", None, ("x.min()",)),
    Rule("tensor.max(dim, keepdim=False)", "", hint="torch's returns values and indices, Paddle's the values alone"),
    Rule("tensor.min(dim, keepdim=False)", "", hint="torch's returns values and indices, Paddle's the values alone"),
    Rule("tensor.cumsum(dim)", "tensor.cumsum(axis=dim)", ("x.cumsum(1)", "i.cumsum(dim=1)")),
    Rule("tensor.clamp(min=None, max=None)", "tensor.clip(min=min, max=max)", ("x.clamp(min=0)", "x.clamp(-1, 1)")),
    Rule("tensor.bmm(mat2)", "tensor.bmm(mat2)", ("x.bmm(y.transpose(1, 2))",)),
    Rule(
        "tensor.gather(dim, index)",
        "tensor.take_along_axis(index, dim, broadcast=False)",
        ("x.gather(-1, i[:, :, None] % 4)", "x.gather(dim=1, index=i[:, :, None] % 3)"),
    ),
    Rule("tensor.index_select(dim, index)", "tensor.index_select(index, dim)", ("x.index_select(-1, i[0] % 4)",)),
    Rule("tensor.chunk(chunks, dim=0)", "tensor.chunk(chunks, axis=dim)", ("x.chunk(2, dim=-1)", "x.chunk(2)")),
    Rule(
        "tensor.split(sizes, dim=0)",
        "paddle.compat.split(tensor, sizes, dim=dim)",
        ("x.split(1, dim=1)", "x.split([3, 1], -1)"),
    ),
    Rule("tensor.unbind(dim=0)", "tensor.unbind(axis=dim)", ("x.unbind(1)", "x.unbind(dim=-1)")),
    Rule(
        "tensor.repeat_interleave(repeats, dim)",
        "tensor.repeat_interleave(repeats, axis=dim)",
        ("x.repeat_interleave(2, dim=1)",),
    ),
    Rule("tensor.flip(*dims)", "tensor.flip([*dims])", ("x.flip(1)", "x.flip(dims=(1,))", "x.flip([0, 1])")),
    Rule("tensor.norm(p=2, dim=None, keepdim=False)", "tensor.norm(p, axis=dim, keepdim=keepdim)", ("x.norm(dim=-1)",)),
    Rule("tensor.to(dtype)", "tensor.astype(dtype)", ("m.to(x.dtype)", "i.to(torch.float32)", "m.to(dtype=x.dtype)")),
    Rule("tensor.type(dtype)", "tensor.astype(dtype)", ("m.type(torch.float32)",)),
    Rule("tensor.ne(other)", "tensor != other", ("x.ne(y)", "i.ne(0).long()")),
    Rule("tensor.tril(diagonal=0)", None, ("x.tril()",)),
    Rule("tensor.triu(diagonal=0)", None, ("x.triu(1)",)),
    Rule("tensor.uniform_(low=0.0, high=1.0)", "tensor.uniform_(low, high)"),
)

# Methods of modules, called on any of them.
MODULE_METHODS = (
    Rule(
        "module.register_buffer(name, tensor, persistent=True)",
        "module.register_buffer(name, tensor, persistable=persistent)",
    ),
    Rule("module.register_parameter(name, param)", "module.add_parameter(name, param)"),
    Rule("module.add_module(name, module_)", "module.add_sublayer(name, module_)"),
    Rule("module.modules()", "module.sublayers(include_self=True)"),
    Rule("module.named_modules()", "module.named_sublayers(include_self=True)"),
    *(
        Rule(f"module.{word}()")
        for word in ("parameters", "named_parameters", "children", "named_children", "eval", "train")
    ),
    Rule("module.apply(fn)"),
    Rule("module.requires_grad_(requires_grad=True)"),
)

# Names that stand by themselves: classes, dtypes, tables.
NAMES = {
    "torch": "paddle",
    "torch.nn": "nn",
    "torch.nn.functional": "F",
    "torch.Tensor": "Tensor",
    "torch.LongTensor": "Tensor",
    "torch.FloatTensor": "Tensor",
    "torch.BoolTensor": "Tensor",
    "torch.dtype": "paddle.dtype",
    "torch.long": "paddle.int64",
    "torch.float": "paddle.float32",
    "torch.double": "paddle.float64",
    "torch.int": "paddle.int32",
    "torch.inf": "paddle.inf",
    "torch.pi": "paddle.pi",
    "torch.nn.Module": "nn.Layer",
    "torch.nn.ModuleList": "nn.LayerList",
    "torch.nn.ModuleDict": "nn.LayerDict",
    "torch.nn.SiLU": "nn.Silu",
    "torch.nn.Conv1d": "nn.Conv1D",
    "torch.nn.Conv2d": "nn.Conv2D",
    **{f"torch.{word}": f"paddle.{word}" for word in ("bool", "int32", "int64", "float16", "float32", "float64")},
    **{
        f"torch.nn.{word}": f"nn.{word}"
        for word in (
            "Linear",
            "Embedding",
            "LayerNorm",
            "Dropout",
            "GELU",
            "ReLU",
            "Tanh",
            "Sigmoid",
            "Identity",
            "Sequential",
            "Parameter",
        )
    },
    **{f"torch.nn.functional.{word}": f"F.{word}" for word in ("gelu", "relu", "silu", "tanh", "sigmoid", "elu")},
    **{f"torch.{word}": f"paddle.{word}" for word in ("tanh", "sigmoid")},
}
# Attributes of tensors that are methods of Paddle's.
ATTRIBUTES = {"real": "real()", "imag": "imag()"}
