"""The evaluation stage: what it leaves, several models and data sets, a pool without parts."""

import csv
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

import rewho
from quick_settings import quick
from rewho.core.check import UserError
from rewho.core.record import find_damage
from rewho.core.text import html_text
from rewho.embedding.decision import describe_points, store_thresholds
from rewho.embedding.scoring import similarities
from rewho.rank.thresholds import NO_INTERVAL, Interval, OperatingPoint, PairScores
from rewho.rendered import write_people
from rewho.settings import (
    CompareSettings,
    DataSettings,
    EmbedSettings,
    EngineSettings,
    EvaluateDataSettings,
    EvaluateSettings,
    ModelSettings,
)
from rewho.stages import compare, embed, evaluate, train

CPU = EngineSettings(device="cpu")


@pytest.fixture(scope="module")
def report(model, people, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report"
    settings = EvaluateSettings(
        (model,), (people,), out, rerank=True, k1=4, k2=2, sheets=2, single_gallery_shot=True, engine=CPU
    )
    return evaluate.run(settings)


def test_it_leaves_everything_a_reader_wants(report, people):
    folder = report.parent
    assert find_damage(folder) is None
    names = {file.name for file in folder.rglob("*")}
    assert {"index.html", "metrics.json", "per_query.csv", "cmc.csv", "cmc.png", "manifest.json"} <= names
    assert {"tables.md", "tables.tex", "decide.json"} <= names and any(name.endswith(".pdf") for name in names)
    (measured,) = json.loads((folder / "decide.json").read_text())["measured"]
    assert measured["people"] == 6 and "takes about 78 people" in measured["thresholds"][0]["refusal"]
    sheets = sorted((folder / "rank_sheets").glob("*.jpg"))
    assert any("worst" in sheet.name for sheet in sheets) and any("queries" in sheet.name for sheet in sheets)
    assert all(cv2.imread(str(sheet)) is not None for sheet in sheets)
    page = report.read_text()
    assert "://" not in page and "rectangular" in page and "trapezoid" in page
    rows = list(csv.DictReader((folder / "per_query.csv").open()))
    assert len(rows) == len(list((people / "query").iterdir()))
    cameras = {file.name.split("_")[1][:2] for file in (people / "query").iterdir()}
    assert {row["camera"] for row in rows} == cameras
    (result,) = json.loads((folder / "metrics.json").read_text())["results"]
    assert {pair["query_camera"] for pair in result["rankings"][0]["camera_pairs"]} <= cameras


def test_the_figures_are_those_of_the_library(report, model, people):
    (result,) = json.loads((report.parent / "metrics.json").read_text())["results"]
    plain, reranked = result["rankings"]
    scores = rewho.evaluate(model, people)
    assert plain["mAP_rectangular"] == pytest.approx(scores.mAP_rectangular, abs=1e-12)
    assert plain["mAP_trapezoid"] < plain["mAP_rectangular"]
    assert "k1=4" in reranked["description"]
    low, high = plain["intervals"]["mAP_rectangular"]
    assert low <= plain["mAP_rectangular"] <= high
    assert plain["people"] == scores.people > 1
    assert f"(95 %, {scores.people} people)" in report.read_text()
    assert plain["valid_queries"] + plain["not_in_gallery"] + plain["only_left_out"] == plain["queries"]
    assert result["single_gallery_shot"]
    trained = json.loads((model / "model.json").read_text())["metrics"]["rendered-people"]
    assert plain["mAP_rectangular"] == pytest.approx(trained["mAP"], abs=1e-6)


def test_a_finished_report_is_skipped_and_a_changed_one_refused(report, model, people, capsys):
    settings = EvaluateSettings(
        (model,), (people,), report.parent, rerank=True, k1=4, k2=2, sheets=2, single_gallery_shot=True, engine=CPU
    )
    evaluate.run(settings)
    assert "is finished" in capsys.readouterr().err
    with pytest.raises(UserError, match="rerank: True -> False"):
        evaluate.run(
            EvaluateSettings(
                (model,), (people,), report.parent, k1=4, k2=2, sheets=2, single_gallery_shot=True, engine=CPU
            )
        )


def test_normalised_rankings_stand_beside_the_plain_one(model, people, tmp_path):
    wide = write_people(
        tmp_path / "wide", identities=2, test_identities=26, cameras=2, images_per_camera=3, distractors=0, junk=0,
        seed=5, workers=0,
    )  # fmt: skip
    settings = EvaluateSettings((model,), (wide,), tmp_path / "out", sheets=0, attention=0, engine=CPU, k1=4, k2=2)
    every = replace(settings, camera_norm=True, score_norm=True, rerank=True)
    (result,) = json.loads((evaluate.run(every).parent / "metrics.json").read_text())["results"]
    assert [ranking["description"] for ranking in result["rankings"]] == [
        "cosine",
        "cosine relative to cameras",
        "cosine, AS-norm(cohort 156, highest 15)",
        "cosine relative to cameras, AS-norm(cohort 156, highest 15)",
        "cosine + k-reciprocal(k1=4, k2=2, lambda=0.3)",
        "cosine relative to cameras + k-reciprocal(k1=4, k2=2, lambda=0.3)",
    ]
    assert result["rankings"][0]["mAP_rectangular"] == rewho.evaluate(model, wide).mAP_rectangular
    small = replace(every, data=EvaluateDataSettings((people,)), out=tmp_path / "small")
    with pytest.raises(UserError, match="--score_norm: rendered-people: expected 100 gallery images or more"):
        evaluate.run(small)
    with pytest.raises(UserError, match="queries of cameras with 20 gallery images or more"):
        evaluate.run(replace(small, score_norm=False))


def test_people_that_a_model_may_have_learned_are_no_test_and_it_is_said(model, people, tmp_path, capsys):
    held_out = DataSettings(root=people, layout="market1501", hold_out=2)
    data = EvaluateDataSettings((people,), layout="market1501", hold_out=2)
    seen = EvaluateSettings((model,), data, tmp_path / "seen", sheets=0, attention=0, engine=CPU)
    page = evaluate.run(seen)
    assert (
        "warning: model was trained on rendered-people and may have seen the people held out here"
        in capsys.readouterr().err
    )
    assert "This model was trained on rendered-people and may" in page.read_text()
    unseen = train.run(
        quick(people, tmp_path / "unseen", epochs=1, evaluate_every=-1, data=replace(held_out, workers=0))
    )
    assert "inflated" not in evaluate.run(replace(seen, model=(unseen,), out=tmp_path / "fair")).read_text()
    encoder = ModelSettings(embedding=16, input_size=(64, 32), pretrained=str(model))
    begun = quick(
        people, tmp_path / "begun", epochs=1, evaluate_every=-1, data=replace(held_out, workers=0), model=encoder
    )
    begun_from_seen = train.run(begun)
    capsys.readouterr()
    evaluate.run(replace(seen, model=(begun_from_seen,), out=tmp_path / "half"))
    errors = capsys.readouterr().err
    assert "warning: begun started from a model that was trained on rendered-people" in errors
    assert "inflated" not in errors


def test_models_and_data_sets_make_a_matrix(model, people, tmp_path):
    other = train.run(quick(people, tmp_path / "other", epochs=1, evaluate_every=-1, seed=2))
    moved = tmp_path / "moved"
    shutil.copytree(people, moved)
    page = evaluate.run(EvaluateSettings((model, other), (people, moved), tmp_path / "matrix", sheets=1, engine=CPU))
    results = json.loads((page.parent / "metrics.json").read_text())["results"]
    assert len(results) == 4
    assert len({(result["model"], result["data"]) for result in results}) == 4
    before, again, after = (results[place]["rankings"][0]["mAP_rectangular"] for place in (0, 1, 2))
    assert before == again
    assert "gain" not in results[1], "the first model is what the others are compared with"
    gain, low, high = results[2]["gain"]["ap_rectangular"]
    assert results[2]["gain"]["over"] == "model"
    assert gain == pytest.approx(after - before, abs=1e-12)
    assert low <= gain <= high
    assert "Gain over model" in page.read_text()


def test_a_folder_without_cameras_is_ranked_leaving_each_image_out(model, people, tmp_path):
    pool = tmp_path / "pool"
    for file in (people / "query").iterdir():
        person = pool / file.name[:4]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, person / file.name)
    page = evaluate.run(EvaluateSettings((model,), (pool,), tmp_path / "report", engine=CPU, sheets=1))
    (result,) = json.loads((page.parent / "metrics.json").read_text())["results"]
    scores = result["rankings"][0]
    assert scores["queries"] == len(list((people / "query").iterdir()))
    assert scores["mAP_rectangular"] < 1, "no image may find itself"


def test_embeddings_can_be_read_by_anything(model, people, tmp_path):
    folder = embed.run(EmbedSettings(people / "query", model, tmp_path / "embeddings", engine=CPU))
    vectors = np.load(folder / "embeddings.npy", allow_pickle=False)
    names = [row["image"] for row in csv.DictReader((folder / "images.csv").open())]
    assert vectors.shape == (len(names), 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[3], rewho.load(model).embed([people / "query" / names[3]])[0], atol=1e-4)
    assert find_damage(folder) is None


def test_comparing_images(model, people):
    first, second, third = sorted((people / "query").iterdir())[:3]
    assert compare.run(CompareSettings((first, first), model, engine=CPU)) == "1.0000"
    table = compare.run(CompareSettings((first, second, third), model, engine=CPU)).splitlines()
    assert len(table) == 3 and table[0].startswith(first.name) and table[1].split()[2] == "1.0000"


def test_a_threshold_tells_which_pairs_are_candidates(model, people, tmp_path, capsys):
    first, second, third = sorted((people / "query").iterdir())[:3]

    def compared(*images, folder=model, **given):
        return compare.run(CompareSettings(images, folder, engine=CPU, **given))

    assert compared(first, first, threshold="0.9").startswith(
        "1.0000  candidate: the same person\nthreshold 0.9000, as"
    )
    assert "candidate: different people" in compared(first, second, threshold="1")
    assert f"{first.name} and {second.name}: " in compared(first, second, third, threshold="-1")
    assert "0 of the pairs candidate" in compared(first, second, third, threshold="1")
    with pytest.raises(UserError, match=r"Run `rewho evaluate .* or pass a number: --threshold 0\.62"):
        compared(first, second, threshold="1%")
    with pytest.raises(UserError, match="a cosine from -1 to 1, or a false match rate in percent"):
        compared(first, second, threshold="strict")
    measured = tmp_path / "measured"
    shutil.copytree(model, measured)
    pairs = PairScores(np.ones(1), np.zeros(1, np.int64), np.zeros(1), np.array([[0, 1]]))
    point = OperatingPoint(0.01, 2, "", 0.5, 0.01, 0.8, NO_INTERVAL, NO_INTERVAL, Interval(0.7, 0.9))
    described = describe_points([point], pairs, data="street", digest="", flip=True, warnings=["learned from x"])
    store_thresholds(rewho.load(measured), described)
    assert find_damage(measured) is None, "the run's manifest does not list it"
    words = compared(first, first, folder=measured, threshold="1%")
    assert "threshold 0.5000, measured on street (2 people" in words and "80.0 % [70.0 – 90.0]" in words
    assert "warning: the threshold was measured with a model that learned from x" in capsys.readouterr().err


def test_names_that_are_formulas_are_text_in_the_list_of_embedded_images(model, people, tmp_path):
    folder = tmp_path / "named"
    folder.mkdir()
    source = next((people / "query").iterdir())
    for name in ("=1+1.jpg", "-2.jpg", "@a.jpg", "b.jpg"):
        shutil.copy(source, folder / name)
    made = embed.run(EmbedSettings(folder, model, tmp_path / "embeddings", engine=CPU))
    names = [row["image"] for row in csv.DictReader((made / "images.csv").open(newline=""))]
    assert names == ["'-2.jpg", "'=1+1.jpg", "'@a.jpg", "b.jpg"]


def test_the_best_epoch_is_said_to_be_chosen_on_the_test_part(model, people, tmp_path, capsys):
    page = evaluate.run(EvaluateSettings((model / "best",), (people,), tmp_path, sheets=0, attention=0, engine=CPU))
    last = 100 * json.loads((model / "model.json").read_text())["metrics"]["rendered-people"]["mAP"]
    said = f"chosen on the test part, so that its scores there are too high; the last epoch's mAP was {last:.2f} there"
    assert f"warning: best is the best epoch of its training, highest mAP, {said}" in capsys.readouterr().err
    assert html_text(said) in page.read_text()


def test_similarities_of_tiny_and_huge_embeddings():
    alike = similarities(np.array([[1e-30, 0], [1e30, 1e30]], np.float32))
    np.testing.assert_allclose(alike, [[1, 0.5**0.5], [0.5**0.5, 1]], atol=1e-6)
    with pytest.raises(UserError, match="zero vector"):
        similarities(np.zeros((2, 3), np.float32))


def test_a_model_or_data_set_twice_is_refused_before_anything_is_read(model, people, tmp_path):
    for models, data in (((model, model / "."), (people,)), ((model,), (people, people.parent / "." / people.name))):
        with pytest.raises(UserError, match="each folder once"):
            evaluate.run(EvaluateSettings(models, data, tmp_path / "out"))
