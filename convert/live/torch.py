"""What loading and saving need of PyTorch."""

import numpy as np
import torch


class Torch:
    name = "torch"

    def parameters(self, model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
        return list(model.state_dict(keep_vars=True).items())

    def cast(self, model: torch.nn.Module, dtype: str) -> None:
        model.to(getattr(torch, dtype))
        for module in model.modules():  # tables that are plain attributes, which `to` does not see
            for name, value in vars(module).items():
                if isinstance(value, torch.Tensor) and value.is_floating_point():
                    setattr(module, name, value.to(getattr(torch, dtype)))

    def set_value(self, tensor: torch.Tensor, value: np.ndarray) -> None:
        with torch.no_grad():
            tensor.copy_(as_tensor(value))

    def dtype_of(self, tensor: torch.Tensor) -> str:
        return str(tensor.dtype).removeprefix("torch.")

    def words_of(self, tensor: torch.Tensor) -> np.ndarray:
        held = tensor.detach().cpu().contiguous()
        return (held.view(torch.uint16) if held.dtype == torch.bfloat16 else held).numpy()


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """The array as a tensor that may be written to: a copy if the array may not (one in a file, say)."""
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else np.array(array))


FRAMEWORK = Torch()
