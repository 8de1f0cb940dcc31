"""A float ONNX file → one that computes with whole numbers of 8 bits, and what that changes.

Static quantisation of ONNX Runtime: weights per output channel, activations per tensor, as QDQ nodes. Only convolutions
and matrix products, and what passes their numbers on, are quantised; the normalisation of the pixels, pooling by a
power and statistics of an image stay in floats, because their ranges depend on the image.

Letters: N images, D embedding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError
from rewho.export.parity import same_neighbours
from rewho.models.graph import INPUT
from rewho.rank.calibration import collect_searches, measure_searches
from rewho.rank.ranking import Ranking
from rewho.rank.thresholds import collect_pairs, find_threshold, match_rates
from rewho.settings import CalibrationSettings

QUANTISED = ("Conv", "Gemm", "MatMul", "MaxPool", "Concat", "Relu", "Clip")
MOST_LOST = 0.005  # mAP, half a point
MOST_RISEN = 0.1  # mean cosine of two people: embeddings that all point one way tell nobody apart
RATES = (0.01, 0.001)


@dataclass(frozen=True)
class Figures:
    """What one file achieves.

    Args:
        impostors: Mean cosine of images of two people; of any two images where people are not known.
        mAP: Mean average precision, rectangular; None without labels.
        rank_1: Rank-1; None without labels.
        thresholds: Cosine by false match rate; empty without labels.
        missed: Share of the pairs of one person below that threshold (FNMR), by false match rate.
        fnir: Share of the searches for somebody in the gallery that find none of theirs, by the share of searches for
            somebody who is not that find anybody (FPIR); without those that the number of people cannot support.
        refused: Why an FPIR is not in `fnir`, in words.
    """

    impostors: float
    mAP: float | None = None  # noqa: N815 - the field's word
    rank_1: float | None = None
    thresholds: dict[str, float] | None = None
    missed: dict[str, float] | None = None
    fnir: dict[str, float] | None = None
    refused: list[str] | None = None


@dataclass(frozen=True)
class Quantisation:
    """What quantisation changed.

    Args:
        images: Number N of the images that were compared without labels.
        cosine: Mean cosine of the two files' embeddings of an image.
        same_neighbours: Share of the ten nearest that stay among the ten nearest.
        before: The float file.
        after: The int8 file.
        calibrated_on: Number of images that gave the ranges.
        bytes_before: Length of the float file.
        bytes_after: Length of the int8 file.
    """

    images: int
    cosine: float
    same_neighbours: float
    before: Figures
    after: Figures
    calibrated_on: int
    bytes_before: int
    bytes_after: int


def quantise(content: bytes, batches: Iterable[NDArray[np.uint8]], settings: CalibrationSettings) -> bytes:
    """Return an int8 file made of a float one.

    Args:
        content: The float file, whose input is uint8 [N, 3, H, W].
        batches: Images to find the ranges on, uint8 [N, H, W, 3].
        settings: How.

    Raises:
        UserError: ONNX Runtime cannot quantise this network.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    methods = {
        "minmax": quantization.CalibrationMethod.MinMax,
        "percentile": quantization.CalibrationMethod.Percentile,
        "entropy": quantization.CalibrationMethod.Entropy,
    }
    with tempfile.TemporaryDirectory(prefix="rewho-") as folder:
        first, prepared, made = (Path(folder, name) for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        first.write_bytes(content)
        try:
            quant_pre_process(str(first), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(made),
                _Reader(iter(batches)),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                reduce_range=settings.reduce_range,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=methods[settings.method],
            )
            file = onnx.load(str(made))
        except UserError:
            raise
        except Exception as error:  # its errors have no common class
            expected = "a network that ONNX Runtime can quantise"
            got = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
            fix = "Export it without --int8, or try another version of onnxruntime."
            raise UserError("--int8", expected=expected, got=got, fix=fix) from error
        noted = {entry.key: entry.value for entry in onnx.load_model_from_string(content).metadata_props}
        del file.metadata_props[:]
        for name, value in {**noted, "quantised": '"int8, static, per channel, QDQ"'}.items():
            file.metadata_props.add(key=name, value=value)
        written: bytes = file.SerializeToString(deterministic=True)
    return written


class _Reader:
    """Hands the images to ONNX Runtime, which asks for one batch after the other."""

    def __init__(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch.transpose(0, 3, 1, 2))}


def unlabelled_figures(embeddings: NDArray[np.float32]) -> Figures:
    """Return the mean cosine of any two of N embeddings.

    Example:
        >>> unlabelled_figures(np.array([[1, 0], [0, 1]], np.float32)).impostors
        0.0
    """
    unit = _unit(embeddings)
    count, whole = len(unit), unit.sum(axis=0)
    return Figures(float((whole @ whole - count) / (count * (count - 1))))


def labelled_figures(ranking: Ranking, mean_average_precision: float, rank_1: float) -> Figures:
    """Return the figures of a ranking, with its thresholds."""
    pairs = collect_pairs(ranking)
    thresholds = {f"{rate:g}": find_threshold(pairs.different, rate) for rate in RATES}
    missed = {rate: float(match_rates(pairs, [value])[1][0]) for rate, value in thresholds.items()}
    points = measure_searches(collect_searches(ranking), len(ranking.kept), resamples=1)
    fnir = {f"{one.rate:g}": one.missed for one in points if not one.refusal}
    refused = [one.refusal for one in points if one.refusal]
    impostors = float(pairs.different.mean())
    return Figures(impostors, mean_average_precision, rank_1, thresholds, missed, fnir, refused)


def compare_embeddings(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean cosine of two files' embeddings [N, D] of the same images, and the share of same neighbours."""
    return float((_unit(before) * _unit(after)).sum(axis=1).mean()), same_neighbours(before, after)


def check_quantisation(found: Quantisation, *, force: bool) -> list[str]:
    """Return why an int8 file should not be used, in words; raise a UserError for it unless forced."""
    wrong = []
    before, after = found.before, found.after
    if before.mAP is not None and after.mAP is not None and before.mAP - after.mAP > MOST_LOST:
        wrong.append(f"mAP {100 * after.mAP:.2f} instead of {100 * before.mAP:.2f}")
    if after.impostors - before.impostors > MOST_RISEN:
        wrong.append(f"a mean cosine of two people of {after.impostors:.3f} instead of {before.impostors:.3f}")
    if wrong and not force:
        raise UserError(
            "--int8",
            expected=f"at most {100 * MOST_LOST:g} points of mAP lost, and embeddings that still tell people apart",
            got="; ".join(wrong),
            fix="Calibrate on more images, or on images like those of the test; try --calibration.method percentile, "
            "or --calibration.reduce_range true on a processor without VNNI; or pass --force.",
        )
    return wrong


def describe_quantisation(found: Quantisation) -> str:
    """Return what changed, as lines of text."""
    lines = [
        f"int8: {found.bytes_after / 1e6:.2f} MB instead of {found.bytes_before / 1e6:.2f}; calibrated on "
        f"{found.calibrated_on:,} images",
        f"cosine with the float file's embeddings {found.cosine:.4f}; {found.same_neighbours:.1%} of the ten nearest "
        f"stay, of {found.images:,} images",
        f"mean cosine of {'two people' if found.before.mAP is not None else 'any two images'}: "
        f"{found.before.impostors:.3f} before, {found.after.impostors:.3f} after",
    ]
    if found.before.mAP is None or found.after.mAP is None:
        return "\n".join([*lines, "mAP was not measured: pass --data with labelled people to see what is lost"])
    pairs = (("mAP", found.before.mAP, found.after.mAP), ("Rank-1", found.before.rank_1, found.after.rank_1))
    lines += [f"{name}: {100 * (one or 0):.2f} before, {100 * (other or 0):.2f} after" for name, one, other in pairs]
    for rate, threshold in (found.after.thresholds or {}).items():
        before, missed = (side.missed or {} for side in (found.before, found.after))
        lines.append(
            f"threshold for a false match rate of {rate}: {(found.before.thresholds or {})[rate]:.4f} before, "
            f"{threshold:.4f} after; FNMR {before[rate]:.3f} before, {missed[rate]:.3f} after"
        )
    for rate, share in (found.after.fnir or {}).items():
        lines.append(
            f"searches at an FPIR of {rate}: FNIR {(found.before.fnir or {})[rate]:.3f} before, {share:.3f} after"
        )
    lines += [f"no FNIR: {reason}" for reason in found.after.refused or ()]
    return "\n".join(lines)


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = embeddings.astype(np.float64)
    exact /= np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return exact
