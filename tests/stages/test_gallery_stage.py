"""The commands of `rewho gallery`, from a folder of images to evidence and erasure."""

import json

import numpy as np
import pytest

from rewho import cli
from rewho.crops.writer import encode
from small_gallery import TERMS, make_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, images of three cameras, and a gallery of them."""
    folder = tmp_path_factory.mktemp("gallery")
    make_model(folder / "model")
    (folder / "images").mkdir()
    pixels = np.random.default_rng(5).integers(0, 256, (12, 64, 32, 3), np.uint8)
    rows = ["path,camera,time"]
    for number, image in enumerate(pixels):
        (folder / "images" / f"{number:02d}.png").write_bytes(encode(image, "png"))
        rows.append(f"images/{number:02d}.png,c{number % 3},2026-05-01T09:{number:02d}")
    (folder / "images.csv").write_text("\n".join(rows))
    terms = [word for name, value in TERMS.items() for word in (f"--terms.{name}", value)]
    assert cli.main(["gallery", "create", str(folder / "g"), "--model", str(folder / "model"), *terms]) == 0
    assert cli.main(["gallery", "add", str(folder / "g"), str(folder / "images.csv"), "--zone", "Europe/Berlin"]) == 0
    return folder


@pytest.fixture
def rewho(place, capsys):
    def call(action, *words):
        capsys.readouterr()
        code = cli.main(["gallery", action, str(place / "g"), *map(str, words), "--json", "--user", "officer"])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return json.loads(shown.out)

    return call


def test_search_judge_and_people(rewho, place):
    found = rewho("search", place / "images" / "03.png", "--camera", "c0", "--count", 3)
    assert found["candidates"][0]["sighting"]["id"] == 4
    assert len(found["candidates"]) == 3
    assert found["normalised"] is False
    assert "fewer than 20 crops" in found["notes"][0]
    rest = rewho("search", "--search", found["search"], "--page_after", *found["after"])
    numbers = [one["sighting"]["id"] for one in found["candidates"] + rest["candidates"]]
    assert sorted(numbers) == list(range(1, 13))
    rewho("judge", found["search"], "--yes", numbers[0], "--no", numbers[1])
    again = rewho("search", "--search", found["search"], "--count", 50)
    assert {one["sighting"]["id"] for one in again["candidates"]} == set(numbers) - {numbers[1]}
    filtered = rewho(
        "search", "--sightings", 1, "--cameras", "c1", "--after", "2026-05-01T09:03", "--zone", "Europe/Berlin"
    )
    assert {one["sighting"]["id"] for one in filtered["candidates"]} == {5, 8, 11}
    ann = rewho("name", "Ann", "A", "--sightings", 1, 2)["person"]
    bob = rewho("name", "Bob", "--sightings", 3)["person"]
    assert [one[0]["id"] for one in rewho("merge", ann)] == [bob]
    rewho("merge", ann, bob)
    assert [stay["sighting"]["id"] for stay in rewho("timeline", ann)] == [1, 2, 3]
    rewho("undo", rewho("undo")[0]["id"])
    rewho("split", "--sightings", 2)
    rewho("take-out", "--sightings", 2)
    assert [stay["sighting"]["id"] for stay in rewho("timeline", ann)] == [1]
    assert rewho("name", "Somebody", "--sightings", 2)["taken_from"] == []
    assert rewho("name", "Bob", "B", "--sightings", 3)["taken_from"] == [bob]


def test_cases_erasure_and_audit(rewho, place, capsys):
    case = rewho("case", "Bag", "theft", "--purpose", "order 17", "--sightings", 6, 7)["case"]
    rewho("export", case, "--out", place / "case.zip")
    rewho("hide", "--sightings", 8)
    rewho("withdraw", "--sightings", 9)
    receipt = rewho("forget", "--sightings", 10, "--out", place / "receipt.json")[0]
    assert receipt["content"]["found"] == 0
    assert json.loads((place / "receipt.json").read_text())[0] == receipt
    assert rewho("expire") == []
    assert rewho("stats")["sightings"] == 11
    assert {one["who"] for one in rewho("audit", "--by_action", "export")} == {"officer"}
    assert rewho("audit", "--sightings", 6, "--by_action", "export")[0]["purpose"] == "order 17"
    assert rewho("verify") == {"damage": []}
    capsys.readouterr()
    for action, *words in (
        ("search", "--sightings", "1"),
        ("timeline", "1"),
        ("audit",),
        ("case",),
        ("undo",),
        ("stats",),
    ):
        assert cli.main(["gallery", action, str(place / "g"), *words]) == 0
    assert "candidates of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "G", "--box", "1", "2"], "four numbers"),
        (["search", "G"], "expected images, sightings, a crop or a search"),
        (["judge", "G", "1"], "expected verdicts"),
        (["judge", "G", "x", "--yes", "1"], "the number of a search"),
        (["judge", "G", "1", "--yes", "1", "--no", "1"], "one verdict"),
        (["forget", "G"], "somebody to forget"),
        (["add", "G"], "what to add"),
        (["add", "G", "nothing.png"], "no file there"),
        (["search", "G", "--sightings", "1", "--cameras", "c9"], "a camera of the gallery"),
        (["timeline", "G", "99"], "no such person"),
        (["stats", "nowhere"], "expected a gallery"),
        (["create", "G"], "a new or empty folder"),
    ],
)
def test_mistakes_are_said(place, capsys, words, message):
    assert cli.main(["gallery", *(str(place / "g") if word == "G" else word for word in words)]) == 2
    assert message in capsys.readouterr().err
