"""Processor or GPU, for torch and for onnxruntime; the arithmetic of torch while a block runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rewho.core.check import UserError, check_choice

if TYPE_CHECKING:
    import torch


def use_cuda(device: str, available: bool, option: str, fix: str) -> bool:
    """Return whether a device setting (auto, cpu or cuda) means CUDA.

    Args:
        device: The setting.
        available: Whether the library can use CUDA here.
        option: The option that named the device, for messages.
        fix: How to get CUDA, or which device to choose instead, for messages.

    Example:
        >>> use_cuda("auto", True, "engine.device", ""), use_cuda("cpu", True, "engine.device", "")
        (True, False)
    """
    check_choice(option, device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not available:
        raise UserError(option, expected="a CUDA device", got="none", fix=fix)
    return available and device != "cpu"


def pick_device(name: str, option: str = "--engine.device") -> torch.device:
    """Return torch's device for a setting: auto, cpu or cuda.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    import torch

    return torch.device("cuda" if use_cuda(name, torch.cuda.is_available(), option, f"Pass {option} cpu.") else "cpu")


@contextlib.contextmanager
def arithmetic(threads: int = 0, *, tf32: bool = False) -> Iterator[None]:
    """Set the number of CPU threads (0: unchanged) and full float32 precision, or TF32 on CUDA, while a block runs."""
    import torch

    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if threads:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.backends.cudnn.allow_tf32 = before[2]
