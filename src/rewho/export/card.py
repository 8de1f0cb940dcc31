"""Files beside an exported model: `model.json` for programs and `README.md` for people."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import yaml

from rewho.core.artifact import plain
from rewho.core.record import flatten, rewho_version
from rewho.export.parity import Parity
from rewho.models.graph import INPUT, OUTPUT, EmbeddingGraph

Box = tuple[Fraction, Fraction, Fraction, Fraction]
WHOLE: Box = (Fraction(0), Fraction(1), Fraction(0), Fraction(1))


def build_export_facts(
    graph: EmbeddingGraph, written: Mapping[str, Any], box: Box, masked: bool, source: str, parity: Parity
) -> dict[str, Any]:
    """Return the content of `export` in `model.json`.

    `written` holds format, name and writer's version of the file; `box` is top, bottom, left and right of the view as
    shares of the image; `masked` says whether the model was trained on masked images; `source` is the sha256 of the
    model's weights.
    """
    settings, sides = graph.model.settings, ("top", "bottom", "left", "right")
    return {
        **written,
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "layout": "NCHW",
            "shape": ["batch", 3, *graph.model.input_size],
            "colours": "RGB",
            "normalisation": "in the file: mean and std are not to be applied again",
            "view": {"name": settings.view, "masked": masked, **dict(zip(sides, map(str, box), strict=True))},
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": ["batch", settings.embedding],
            "unit_length": graph.unit,
        },
        "mean_with_mirror_image": graph.flip,
        "source_sha256": source,
        "parity": plain(parity),
    }


def build_readme(card: Mapping[str, Any], box: Box, parameters: int) -> str:
    """Return `README.md`, with the YAML header that model hubs read, from the export's `model.json`."""
    facts = card["export"]
    head = {
        "license": "other",
        "library_name": "onnx" if facts["format"] == "onnx" else "pytorch",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["person-re-identification"],
    }
    sections = {
        "Input and output": _describe_input(facts, box),
        "Use": _write_example(facts, box),
        "Training data and licence": f"Licence of the training data: {card.get('licence') or 'not recorded'}\n\n"
        f"Trained on:\n\n{_listed(card.get('trained_on'))}\n\nWhere the weights come from:\n\n"
        f"{_listed(card.get('provenance'))}",
        "Figures": f"Measured by rewho when these weights were saved:\n\n{_listed(card.get('metrics'))}"
        + (f"\n\nThe best epoch of its training:\n\n{_listed(card['chosen'])}" if card.get("chosen") else ""),
        "How exact the file is": _describe_parity(facts) + _describe_quantisation(facts),
        "Limits": "A similarity is a hint and never proof: people who look alike are confused, and models are worse "
        "for those who were rare in training. Do not let one decide about anybody, and use images of people only "
        "with their agreement or another lawful reason.",
    }
    architecture = card["architecture"]
    title = (
        f"# Person re-identification: {architecture['kind']}, {architecture['backbone']}\n\nA network that turns the "
        "image of one person, cut out around them, into a vector; images of the same person have vectors of a "
        f"similar direction. {parameters:,} parameters, exported by rewho {rewho_version()}."
    )
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{title}\n\n{body}\n"


def _listed(values: Mapping[str, Any] | None) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in flatten(values or {}).items() if name) or "* not recorded"


def _describe_input(facts: Mapping[str, Any], box: Box) -> str:
    (_, _, height, width), (_, length) = facts["input"]["shape"], facts["output"]["shape"]
    view = facts["input"]["view"]
    length_words = "not of unit length; compare by the cosine"
    if facts["output"]["unit_length"]:
        length_words = "of unit length: the product of two is their cosine"
    seen = "the whole image"
    if box != WHOLE:
        seen = (
            f"the part of the image that belongs to the view `{view['name']}`: rows from {box[0]} to {box[1]} of the "
            f"height, columns from {box[2]} to {box[3]} of the width"
        )
    lines = [
        f"* Input `{INPUT}`: uint8 [N, 3, {height}, {width}], RGB, values from 0 to 255, any N. Mean and standard "
        "deviation are applied inside the file.",
        f"* What it shows: {seen}, resized to {height} x {width} without keeping the proportions: bilinear, or the "
        "mean over areas (`cv2.INTER_AREA`) where it is more than twice as high or as wide.",
        f"* Output `{OUTPUT}`: float32 [N, {length}], {length_words}.",
    ]
    if view["masked"]:
        lines.append("* In training, pixels of other things were masked out with the mean colour: mask yours so.")
    if facts["mean_with_mirror_image"]:
        lines.append("* The embedding is the mean of those of the image and its mirror image, as `rewho` embeds.")
    else:
        lines.append(
            "* The embedding is that of the image alone. `rewho embed`, `evaluate` and `rewho.load(...).embed` take "
            "the mean of the embeddings of an image and its mirror image by default; for the same numbers, "
            "run the file on `images[..., ::-1].copy()` too and take the mean."
        )
    return "\n".join(lines)


def _write_example(facts: Mapping[str, Any], box: Box) -> str:
    _, _, height, width = facts["input"]["shape"]
    cut = ""
    if box != WHOLE:
        rows, columns = (
            f"int({side} * {first} + 0.5) : int({side} * {last} + 0.5)"
            for side, first, last in (("height", *box[:2]), ("width", *box[2:]))
        )
        cut = f"height, width = image.shape[:2]\nimage = image[{rows}, {columns}]\n"
    if onnx := facts["format"] == "onnx":
        opened = 'onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])'
        called, warning = f'(embeddings,) = network.run(None, {{"{INPUT}": images}})', ""
    else:
        opened = 'torch.export.load("model.pt2").module()'
        called = "with torch.inference_mode():\n    embeddings = network(torch.from_numpy(images)).numpy()"
        warning = "\n\nSuch a file can make torch run code when it is opened: open only your own."
    return (
        f"```python\nimport cv2\nimport {'onnxruntime' if onnx else 'torch'}\n\nnetwork = {opened}\n"
        f'image = cv2.cvtColor(cv2.imread("person.jpg"), cv2.COLOR_BGR2RGB)\n{cut}'
        f"shrinks = image.shape[0] > {2 * height} or image.shape[1] > {2 * width}\n"
        f"by = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR\n"
        f"images = cv2.resize(image, ({width}, {height}), interpolation=by).transpose(2, 0, 1)[None].copy()\n"
        f"{called}\n```{warning}"
    )


def _describe_parity(facts: Mapping[str, Any]) -> str:
    parity = facts["parity"]
    return (
        f"Compared with the model in torch on {parity['images']} images when it was exported: the largest "
        f"difference is {parity['largest_difference']:.2g}, which is {parity['relative_difference']:.2g} of the "
        f"embeddings' root mean square, and {parity['same_neighbours']:.2%} of the ten nearest neighbours are the same."
        f" The weights have the sha256 `{facts['source_sha256']}`."
    )


def _describe_quantisation(facts: Mapping[str, Any]) -> str:
    """Return what int8 changed; nothing for a file of floats."""
    if "quantisation" not in facts:
        return ""
    changed = facts["quantisation"]
    return (
        "\n\nThis holds for the float file. This file computes with whole numbers of 8 bits (static, weights per "
        f"channel); its ranges come from {changed['calibrated_on']:,} images. What that changed:\n\n{_listed(changed)}"
    )
