"""int8 files: what they lose is measured and said, and a file that loses too much is not kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

import rewho
from rewho.cli import main
from rewho.core.check import UserError
from rewho.embedding.exported import ExportedModel
from rewho.export import quantise as quantisation
from rewho.settings import CalibrationSettings, ExportSettings, ExportTestSettings
from rewho.stages import export

pytest.importorskip("onnxscript", reason="the extra `export`")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def settings(people, model):
    """Settings of an int8 export of a small trained model, calibrated and tested on rendered people."""
    return ExportSettings(
        model,
        int8=True,
        unit=True,
        calibration=CalibrationSettings(images=people / "bounding_box_train", count=40),
        data=ExportTestSettings(root=people, workers=0),
    )


@pytest.fixture(scope="module")
def made(settings, tmp_path_factory):
    return export.run(replace(settings, out=tmp_path_factory.mktemp("int8") / "out"))


def test_the_file_computes_with_whole_numbers_and_gives_nearly_the_same(settings, made, people):
    import onnx

    file = onnx.load(made / "model.onnx")
    kinds = [node.op_type for node in file.graph.node]
    assert "QuantizeLinear" in kinds and "DequantizeLinear" in kinds
    weights = {entry.name: entry for entry in file.graph.initializer}
    scales = {node.input[0]: weights[node.input[1]].dims for node in file.graph.node if node.op_type[:5] == "Dequa"
              and node.input[0] in weights and node.input[1] in weights}  # fmt: skip
    assert any(list(dims) and dims[0] > 1 for dims in scales.values()), "a scale per output channel"
    assert file.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8, "normalisation is inside"
    assert {entry.key for entry in file.metadata_props} >= {"mean", "std", "quantised"}

    images = sorted((people / "query").glob("*.jpg"))
    exact, found = rewho.load(settings.model, "cpu").embed(images), ExportedModel.open(made, "cpu").embed(images)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert ((exact * found).sum(axis=1) > 0.97).all()


def test_before_and_after_are_reported(made):
    card = json.loads((made / "model.json").read_text())
    changed = card["export"]["quantisation"]
    assert card["export"]["output"]["unit_length"] is True
    assert changed["bytes_after"] < 0.5 * changed["bytes_before"] and changed["cosine"] > 0.97
    assert changed["calibrated_on"] == 40
    for side in (changed["before"], changed["after"]):
        assert 0 < side["mAP"] <= 1 and 0 <= side["rank_1"] <= 1 and -1 <= side["impostors"] <= 1
        assert set(side["thresholds"]) == set(side["missed"]) == {"0.01", "0.001"}
        assert side["fnir"] == {} and all("too few people" in why for why in side["refused"])
    page = (made / "README.md").read_text()
    assert "whole numbers of 8 bits" in page and "of unit length: the product of two is their cosine" in page


def test_a_finished_export_is_skipped_and_other_calibration_images_are_another_export(settings, made, people):
    before = (made / "model.onnx").stat().st_mtime_ns
    export.run(replace(settings, out=made))
    assert (made / "model.onnx").stat().st_mtime_ns == before
    other = replace(settings.calibration, images=people)
    with pytest.raises(UserError, match="inputs"):
        export.run(replace(settings, out=made, calibration=other))


def test_what_loses_too_much_is_refused_unless_forced(settings, tmp_path, monkeypatch, capsys):
    real = quantisation.quantise

    def ruined(content, batches, how):
        black = (np.zeros_like(batch) for batch in batches)  # ranges of black images cut everything off
        return real(content, black, how)

    monkeypatch.setattr(export, "quantise", ruined)
    with pytest.raises(UserError, match="--int8") as error:
        export.run(replace(settings, out=tmp_path / "out"))
    assert "mAP" in str(error.value) or "mean cosine" in str(error.value)
    assert not list((tmp_path / "out").glob("*.onnx")) and not (tmp_path / "out" / "manifest.json").exists()
    forced = export.run(replace(settings, out=tmp_path / "out", force=True))
    assert (forced / "model.onnx").is_file()
    assert "kept because of --force" in capsys.readouterr().err


def test_without_labels_the_collapse_test_remains_and_the_message_says_what_is_missing(settings, tmp_path, capsys):
    export.run(replace(settings, out=tmp_path / "out", data=ExportTestSettings(), unit=False))
    said = capsys.readouterr().err
    assert "mean cosine of any two images" in said and "mAP was not measured" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--int8"], "images to calibrate on"),
        (["--int8", "--calibration.images", "x", "--format", "pt2"], "onnx with --int8"),
        (["--force"], "true with calibration, data or force"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, message, capsys):
    assert main(["export", "starter", *words]) == 2
    assert message in capsys.readouterr().err


def test_too_few_images_to_calibrate_on_are_refused(settings, people, tmp_path):
    few = replace(settings.calibration, images=people / "query")
    with pytest.raises(UserError, match=r"calibration\.images"):
        export.run(replace(settings, out=tmp_path / "a", calibration=few))
