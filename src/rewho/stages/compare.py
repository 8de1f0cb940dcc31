"""Compare the people in two or more images."""

from __future__ import annotations

from rewho.core.check import UserError, is_dir
from rewho.core.runtime import run_in_processes
from rewho.data.file_lists import refuse_output
from rewho.embedding.embedder import load
from rewho.embedding.scoring import similarities
from rewho.settings import CompareSettings
from rewho.settings.fields import check


@run_in_processes
def run(settings: CompareSettings) -> str:
    """Return the cosine similarity of two images, -1 to 1, or the table of every pair of more."""
    check(settings)
    if len(settings.images) < 2:
        fix = "Call `rewho compare A.jpg B.jpg --model FOLDER`."
        raise UserError("images to compare", expected="two or more", got=str(len(settings.images)), fix=fix)
    for image in settings.images:
        if is_dir(image):
            refuse_output(image)
    model = load(settings.model, settings.engine.device, settings.engine.threads)
    alike = similarities(model.embed(list(settings.images), flip=settings.flip))
    if len(settings.images) == 2:
        return f"{alike[0, 1]:.4f}"
    width = max(len(image.name) for image in settings.images)
    lines = [
        f"{image.name:{width}}  " + "  ".join(f"{value:7.4f}" for value in row)
        for image, row in zip(settings.images, alike, strict=True)
    ]
    return "\n".join(lines)
