"""List the models that come with the package, and those that can be downloaded; download them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rewho.core.check import UserError, check_choice
from rewho.core.download import download
from rewho.core.files import read_json
from rewho.core.named_models import NAMED_MODELS, NamedModel, check_file, models_folder
from rewho.core.progress import say
from rewho.core.shipped import CARD, measured, shipped_models, what_trained
from rewho.settings import ModelsSettings
from rewho.settings.fields import check


def run(settings: ModelsSettings) -> str:
    """Return a paragraph about each model; with `get`, download models and return the path of each."""
    check(settings)
    if settings.action == "list":
        return "\n\n".join([*_describe_shipped(), *map(_describe_named, NAMED_MODELS.values())])
    for name in settings.names:
        check_choice("models get", name, list(NAMED_MODELS))
    return "\n".join(str(get_model(name, settings.cache)) for name in settings.names)


def get_model(name: str, folder: Path | None = None) -> Path:
    """Download a model by name, unless it is there; return its file.

    Args:
        name: One of `rewho.core.named_models.NAMED_MODELS`.
        folder: Where to; the cache by default.
    """
    model, folder = NAMED_MODELS[name], folder or models_folder()
    path = folder / model.file
    if path.is_file():
        try:
            check_file(model, path)
        except UserError as error:
            say(f"warning: {error.what}: {error.got}, not what was published; downloading it again")
        else:
            say(f"{name} is there")
            return path
    download(
        model.address,
        path,
        size=model.size,
        sha256=model.sha256,
        name=name,
        by_hand=model.by_hand(folder),
        hosts=model.hosts,
    )
    say(f"{name}: {model.size / 1e6:.1f} MB, {model.licence}. Use it with `rewho crop --{_option(model, path)}`")
    return path


def _option(model: NamedModel, path: Path) -> str:
    """Return the option that uses a downloaded file."""
    if path.parent == models_folder():
        return f"{model.kind} {model.name}"
    return f"{model.kind}.weights {path}"


def _describe_shipped() -> Iterator[str]:
    for name, folder in shipped_models().items():
        card = read_json(folder / CARD)
        height, width = card["input_size"]
        lines = [
            f"{name}  {card['parameters'] / 1e6:.2f} M parameters, input {height} x {width}, "
            f"{card['embedding_size']} dimensions",
            f"trained on  {what_trained(card)}",
            f"measured on {measured(card)}",
            f"terms       {card.get('licence', 'unknown')}",
            f"folder      {folder}",
        ]
        yield "\n    ".join(lines)


def _describe_named(model: NamedModel) -> str:
    path = models_folder() / model.file
    there = f"{path}; use it with `rewho crop --{model.kind} {model.name}`"
    lines = [
        f"{model.name}  {model.kind}: {model.about}",
        f"terms       {model.licence}",
        f"size        {model.size / 1e6:.1f} MB",
        f"sha256      {model.sha256}",
        f"address     {model.address}",
        f"file        {there if path.is_file() else f'not downloaded: `rewho models get {model.name}`'}",
    ]
    return "\n    ".join(lines)
