"""List the models that come with the package: what they were trained on, their terms and their figures."""

from __future__ import annotations

from rewho.core.files import read_json
from rewho.core.shipped import CARD, measured, shipped_models, what_trained
from rewho.settings import ModelsSettings
from rewho.settings.fields import check


def run(settings: ModelsSettings) -> str:
    """Return a paragraph about each shipped model."""
    check(settings)
    paragraphs = []
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
        paragraphs.append("\n    ".join(lines))
    return "\n\n".join(paragraphs)
