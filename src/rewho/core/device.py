"""Choose between processor and GPU. The rule stands here for torch and for onnxruntime."""

from __future__ import annotations

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
