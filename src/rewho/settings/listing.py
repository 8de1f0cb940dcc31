"""Settings of the commands that only print: `rewho recipes`, `rewho completion`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rewho.settings.fields import Command


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
