"""Photographs as sources of crops, and the form for a set's terms."""

import cv2
import numpy as np
import pytest

from rewho.cli import main
from rewho.core.check import UserError
from rewho.crops.people_source import VideoPeople
from rewho.crops.shards import CropSet
from rewho.crops.statistics import read_videos
from rewho.crops.terms import TERMS, read_terms
from rewho.settings import AdaptSettings, CropSettings, DataSettings, PoseSettings, TermsSettings
from rewho.stages import crop
from rewho.tasks.target import read_target

SOME = dict.fromkeys(TERMS, "x")


class OnePerson:
    """Finds a person in the middle of every frame."""

    name, sha256 = "one", ""

    def begin(self, video):
        pass

    def detect(self, frames):
        from rewho.video.people import Person

        return [[Person((60.0, 20.0, 140.0, 220.0), 0.9, None, 0)] for _ in frames]


def test_photographs_become_crops_with_their_folder_as_camera(tmp_path, capsys):
    random = np.random.default_rng(1)
    for name in ("yard/1.jpg", "yard/2.png", "gate/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), random.integers(0, 255, (240, 200, 3), np.uint8))
    (tmp_path / "gate" / "4.jpg").write_text("no image")
    settings = CropSettings(
        videos=(tmp_path / "yard", tmp_path / "gate"),
        out=tmp_path / "out",
        terms=TermsSettings(**SOME),
        pose=PoseSettings(kind="none"),
        workers=0,
    )
    source = VideoPeople(crop.limit_threads(settings))
    source.__dict__["_detector"] = OnePerson()
    crops = CropSet.open(crop.run(settings, source))
    rows = crops.manifest(["frame", "time", "cut", "video"]).to_pylist()
    assert len(rows) == 3 and all((row["frame"], row["time"]) == (0, 0.0) for row in rows)
    assert all(row["cut"] == [60, 20, 140, 220] for row in rows) and len({row["video"] for row in rows}) == 3
    videos = {video["path"].rpartition("/")[2]: video for video in read_videos(crops.folder)}
    assert videos["1.jpg"]["source"] == str(tmp_path / "yard") and videos["1.jpg"]["frames"] == 1
    assert (videos["4.jpg"]["status"], videos["4.jpg"]["reason"]) == ("failed", "unreadable")
    assert "too far" not in capsys.readouterr().err, "a photograph has no neighbours"
    target = read_target(AdaptSettings(data=DataSettings(root=crops.folder)))
    assert sorted(np.bincount(target.cameras)) == [1, 2], "the camera is the folder"


def test_a_form_for_the_terms_is_written_filled_in_and_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    assert main(["crop", "v"]) == 2
    said = capsys.readouterr().err
    assert ", ".join(TERMS) in said and "--new-terms terms.yaml" in said
    assert main(["crop", "--new-terms", "terms.yaml"]) == 0
    assert capsys.readouterr().out == "terms.yaml\n" and not (tmp_path / "runs" / "crop").exists()
    form = (tmp_path / "terms.yaml").read_text()
    assert form.count("\n# ") == len(TERMS) + 1 and all(f'\n{name}: ""\n' in form for name in TERMS)
    assert main(["crop", "--new-terms", "terms.yaml"]) == 2
    assert "one that is there already" in capsys.readouterr().err
    filled = form.replace('licence: ""', 'licence: "CC0-1.0"').replace('name: ""', "name: 2024")
    (tmp_path / "terms.yaml").write_text(filled)
    assert main(["crop", "v", "--terms", "terms.yaml"]) == 2
    said = capsys.readouterr().err
    assert "nothing on source, purpose, legal_basis, contact, retention" in said and "in terms.yaml" in said
    (tmp_path / "terms.yaml").write_text(filled.replace(': ""', ': "y"'))
    with pytest.raises(UserError, match="none"):  # the terms are read; what lacks is videos
        crop.crop("v", tmp_path / "out", terms="terms.yaml")
    read = read_terms(TermsSettings(file=tmp_path / "terms.yaml", purpose="tests"))
    assert (read.name, read.licence, read.purpose, read.contact) == ("2024", "CC0-1.0", "tests", "y")
    (tmp_path / "terms.yaml").write_text("licens: x")
    with pytest.raises(UserError, match="licence"):
        read_terms(TermsSettings(file=tmp_path / "terms.yaml"))
