"""Arrays in and out: NumPy's, and torch's where a program has imported torch."""
from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt


def torch_module() -> Any:
    """torch where something has imported it, else None. This package never imports it."""
    return sys.modules.get("torch")


def is_tensor(value: Any) -> bool:
    torch = torch_module()
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """An array of what may be a tensor. bf16, which NumPy lacks, becomes f32."""
    if not is_tensor(value):
        return np.asarray(value)
    tensor = value.detach().cpu()
    if tensor.dtype == torch_module().bfloat16:
        tensor = tensor.float()
    result: npt.NDArray[Any] = tensor.numpy()
    return result


def like(array: npt.NDArray[Any], sample: Any) -> Any:
    """The array as a tensor of the sample's type and device, when the sample is a tensor."""
    if not is_tensor(sample):
        return array
    return torch_module().from_numpy(array).to(device=sample.device, dtype=sample.dtype)


def as_tensor(array: npt.NDArray[Any], device: Any = None) -> Any:
    """A tensor where torch is imported, else the array."""
    torch = torch_module()
    if torch is None:
        return array
    tensor = torch.from_numpy(array)
    return tensor.to(device) if device is not None else tensor


def wants_half(dtype: Any) -> bool:
    """True for what stands for f16: "float16", numpy.float16, torch.float16."""
    return str(getattr(dtype, "__name__", dtype)).rsplit(".", 1)[-1] in ("float16", "half")
