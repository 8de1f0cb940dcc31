"""Settings of the commands that print lists: `rewho recipes`, `rewho models`, `rewho completion`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.fields import Command, Mistake, Only


@dataclass(frozen=True)
class RecipesSettings:
    """Settings of `rewho recipes`.

    Args:
        words: Only recipes that have all these words in name, command or claim.
    """

    command = Command(
        "recipes",
        "list the recipes by name, with the command and the claim of each",
        "words",
        light=True,
        examples=("recipes", "recipes train", "recipes distill fast"),
    )

    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelsSettings:
    """Settings of `rewho models`.

    Args:
        action: list or get.
        names: Models to download.
        cache: Folder to download into, instead of the usual one; `--detector` and `--pose` find names in the usual one
            only.
    """

    command = Command(
        "models",
        "list models by name, with figures and terms; download detectors",
        "action names",
        {"list": "list the models that come with rewho and those that can be downloaded", "get": "download models"},
        light=True,
        examples=("models", "models get yolox-s mediapipe-pose", "models get yolox-nano --cache weights"),
    )

    action: Literal["list", "get"] = "list"
    names: Annotated[tuple[str, ...], Only("get")] = ()
    cache: Annotated[Path | None, Only("get")] = None

    def mistakes(self) -> Iterator[Mistake]:
        """Yield a download of nothing, and names without a download."""
        if self.action == "get" and not self.names:
            yield Mistake("names", "the name of a model", "Run `rewho models get yolox-s`; `rewho models` lists them.")
        if self.action == "list" and self.names:
            yield Mistake("names", "none with `list`", "Run `rewho models`, or `rewho models get NAME`.")


@dataclass(frozen=True)
class CompletionSettings:
    """Settings of `rewho completion`.

    Args:
        shell: bash, zsh or fish. Redirect the script to ~/.local/share/bash-completion/completions/rewho,
            ~/.zfunc/_rewho or ~/.config/fish/completions/rewho.fish.
    """

    command = Command(
        "completion",
        "print a script that completes commands, options and choices in a shell",
        "shell",
        light=True,
        examples=(
            "completion bash",
            "completion zsh",
            "completion fish",
        ),
    )

    shell: Literal["bash", "zsh", "fish"] = "bash"
