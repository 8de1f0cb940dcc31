"""The moment of a crop in its video: everybody else is hidden, the look is in the audit, another file is not shown."""

import hashlib

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is an extra")

import cv2

from rewho.core.check import UserError
from rewho.gallery.adding import Embedded
from rewho.gallery.gallery import Gallery
from rewho.gallery.moments import hide_others, remember_videos
from rewho.gallery.records import Actor, NewCrop
from rewho.rendered import write_street
from rewho.settings import SamplingSettings
from rewho.video.frames import sample_frames
from small_gallery import TERMS, make_model, random_vectors


@pytest.fixture
def seen(tmp_path):
    """A gallery with one crop of frame 2 of a video; yields gallery and video."""
    video = write_street(tmp_path / "street.mp4", 2.0, fps=2, people=3, size=(96, 128), seed=2)
    sha256 = hashlib.sha256(video.read_bytes()).hexdigest()
    with Gallery.create(tmp_path / "gallery", make_model(tmp_path / "model"), terms=TERMS) as gallery:
        crop = NewCrop("one", camera="door", time=1.0, frame=f"{sha256}/2", number=2, box=(40, 20, 60, 80), sha256="a")
        writer = gallery.writer("random", gallery.model_sha256)
        writer.write([Embedded(crop, random_vectors(1)[0], None)])
        remember_videos(gallery.database, writer.source, {sha256: str(video), "0" * 64: "no such file"})
        yield gallery, video


def test_the_frame_of_the_crop_is_shown_and_nobody_else(seen):
    gallery, video = seen
    frame = list(sample_frames(video, SamplingSettings(every=1)))[2].image
    shown = cv2.imdecode(np.frombuffer(gallery.moments.view(1), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    inside = (slice(50, 76), slice(44, 56))
    assert np.abs(shown[inside].astype(float) - frame[inside]).mean() < 12, "the person is as in frame 2"
    assert np.array_equal(gallery.moments.view(1), gallery.moments.view(1))
    edges = [cv2.Laplacian(image[:, 70:], cv2.CV_64F).std() for image in (shown, frame)]
    assert edges[0] < edges[1] / 3, "the rest is coarse"
    record = gallery.audit(action="view")[0]
    assert record.asked == {"moment": 1}
    assert record.ids["sightings"] == [1]


def test_another_file_in_its_place_is_not_shown(seen):
    gallery, video = seen
    assert gallery.moments.known(1)
    video.write_bytes(video.read_bytes() + b"x")
    assert not gallery.moments.known(1)
    with pytest.raises(UserError, match="expected a crop of a video"):
        gallery.moments.view(1)


def test_a_user_sees_no_moment_of_another_camera_and_none_that_was_withdrawn(seen):
    gallery, _ = seen
    with pytest.raises(UserError, match="expected a crop of a video"):
        gallery.moments.view(1, by=Actor("doorman", cameras=frozenset({77})))
    gallery.erasure.withdraw([1])
    assert not gallery.moments.known(1)


def test_heads_of_others_in_the_box_are_hidden():
    frame = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
    alone = hide_others(frame, (20, 10, 60, 90), [])
    both = hide_others(frame, (20, 10, 60, 90), [(40, 50, 70, 95)])
    changed = np.argwhere((alone != both).any(axis=2))
    assert len(changed)
    assert changed[:, 0].min() > 40, "only around the other head"
    assert changed[:, 1].min() >= 20
