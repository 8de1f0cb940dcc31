"""Masks of views: found by name, drawn from keypoints, turned with the image, refused where they are wrong."""

import json
import unicodedata
from dataclasses import replace

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.people import KEYPOINTS
from rewho.data.augment import apply
from rewho.data.body_parts import PARTS, draw_parts
from rewho.data.draws import draw
from rewho.data.view_file import read_view
from rewho.data.view_masks import KeyPointMask, MaskFiles
from rewho.data.views import VIEWS
from rewho.settings import AugmentSettings

SIZE = (64, 32)
STANDING = {
    "nose": (16, 6), "left_shoulder": (22, 14), "right_shoulder": (10, 14), "left_elbow": (25, 24),
    "right_elbow": (7, 24), "left_wrist": (26, 34), "right_wrist": (6, 34), "left_hip": (20, 34),
    "right_hip": (12, 34), "left_knee": (20, 46), "right_knee": (12, 46), "left_ankle": (20, 60),
    "right_ankle": (12, 60),
}  # fmt: skip


def write_view(folder, mask: str):
    file = folder / "view.yaml"
    file.write_text(f"name: mine\nbox: {{top: 0, bottom: 1}}\nsize: [64, 32]\nmask: {mask}\n")
    return file


def points(**changes):
    seen = STANDING | changes
    return [[*seen[name], 0.9] if seen.get(name) else [0, 0, 0.0] for name in KEYPOINTS]


def left_half(folder, name="a.png", size=SIZE):
    mask = np.zeros(size, np.uint8)
    mask[:, : size[1] // 2] = 255
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), mask)
    return mask


def test_a_mask_file_is_found_by_the_end_of_the_path(tmp_path):
    left_half(tmp_path / "masks", "a.png")
    cv2.imwrite(str(tmp_path / "masks" / "b.png"), np.full(SIZE, 255, np.uint8))
    left_half(tmp_path / "masks", "query/b.png")
    masks = MaskFiles(tmp_path / "masks")
    for name in ("a.jpg", "/data/train/a.jpg", "train\\a.jpg"):
        assert masks(name, SIZE).mean() == 127.5
    assert masks("/data/gallery/b.jpg", SIZE).mean() == 255
    assert masks("/data/query/b.jpg", SIZE).mean() == 127.5, "the longer match wins"


def test_numpy_masks_and_masks_of_another_size_are_taken(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(4, dtype=bool))
    mask = MaskFiles(tmp_path)("a.jpg", (8, 8))
    assert mask.dtype == np.uint8 and np.array_equal(mask > 0, np.kron(np.eye(4), np.ones((2, 2))) > 0)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("value", [1, 255])
def test_any_value_but_zero_shows_whatever_the_depth_of_the_image(tmp_path, kind, value):
    cv2.imwrite(str(tmp_path / "a.png"), np.tri(8, dtype=kind) * kind(value))
    assert np.array_equal(MaskFiles(tmp_path)("a.jpg", (8, 8)), np.tri(8) * 255)


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_and_transparency_are_no_mask(tmp_path, channels):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8, channels), 255, np.uint8))
    with pytest.raises(UserError, match=rf"(?s)got uint8 of shape \[8, 8, {channels}\].*without colours, palette"):
        MaskFiles(tmp_path)("a.jpg", (8, 8))


def test_a_image_without_a_mask_is_an_error_or_whole(tmp_path):
    left_half(tmp_path, "0001_c1.png")
    with pytest.raises(UserError, match="nearest name is '0001_c1'"):
        MaskFiles(tmp_path)("0001_c2.jpg", SIZE)
    assert MaskFiles(tmp_path, "whole")("0001_c2.jpg", SIZE).min() == 255


def test_every_part_is_drawn_where_its_points_are():
    inside = {"head": (6, 16), "torso": (24, 16), "left_arm": (24, 25), "right_arm": (24, 7)}
    inside |= {"left_leg": (50, 20), "right_leg": (50, 12)}
    for part, place in inside.items():
        mask = draw_parts(STANDING, [part], SIZE)
        assert mask[place] == 255 and 0 < (mask > 0).mean() < 0.5, part
        assert [other for other in inside if mask[inside[other]]] == [part]
    both = draw_parts(STANDING, ["arms", "legs"], SIZE)
    assert np.array_equal(both, draw_parts(STANDING, ["left_arm", "right_arm", "left_leg", "right_leg"], SIZE))
    assert set(inside) | {"arms", "legs"} == set(PARTS)


def test_what_was_not_seen_is_not_drawn(tmp_path):
    assert not draw_parts({"left_hip": (1, 1), "right_hip": (9, 9)}, PARTS, SIZE).any()
    file = tmp_path / "points.json"
    file.write_text(json.dumps({"a.jpg": [[16, 30, 0.1]] * 17}))
    assert not KeyPointMask(file, ("torso", "legs"))("a.jpg", SIZE).any()
    assert KeyPointMask(file, ("torso", "legs"), confidence=0.05)("a.jpg", SIZE).any()


def test_json_and_csv_say_the_same(tmp_path):
    (tmp_path / "points.json").write_text(json.dumps({"train/a.jpg": points()}))
    lines = [f"train/a.jpg,{name},{x},{y},0.9" for name, (x, y) in STANDING.items()]
    (tmp_path / "points.csv").write_text("\n".join(["image,point,x,y,score", *lines]))
    masks = [KeyPointMask(tmp_path / f"points.{kind}", ("arms",))("train/a.jpg", SIZE) for kind in ("json", "csv")]
    assert masks[0].any() and np.array_equal(*masks)


def test_a_view_file_may_have_masks(tmp_path):
    left_half(tmp_path / "masks")
    view = read_view(write_view(tmp_path, "{files: masks}"))
    image = np.full((*SIZE, 3), 200, np.uint8)
    masked = view.masked(image, "x/a.jpg", (0, 0, 0))
    assert (masked[:, :16] == 200).all() and not masked[:, 16:].any()
    (tmp_path / "points.json").write_text(json.dumps({"a.jpg": points()}))
    view = read_view(write_view(tmp_path, "{keypoints: points.json, parts: [torso], thickness: 0.2}"))
    assert view.masked(image, "a.jpg", (0, 0, 0))[24, 16].tolist() == [200, 200, 200]
    assert VIEWS["holistic"].inputs() == {}


def test_the_digest_changes_with_what_a_mask_depends_on(tmp_path):
    left_half(tmp_path / "masks")
    (tmp_path / "points.json").write_text(json.dumps({"a.jpg": points()}))
    base = KeyPointMask(tmp_path / "points.json", ("torso",))
    other = tmp_path / "moved.json"
    other.write_text(json.dumps({"a.jpg": points(nose=(15, 6))}))
    changed = [replace(base, parts=("arms",)), replace(base, thickness=0.2), replace(base, file=other)]
    digests = [mask.digest() for mask in (base, *changed, MaskFiles(tmp_path / "masks"))]
    assert len(set(digests)) == 5
    assert replace(VIEWS["up1"], mask=base).inputs() == {"masks of view up1": base.digest()}


@pytest.mark.parametrize("flipped", [False, True])
def test_mask_and_image_are_flipped_together(tmp_path, flipped):
    left_half(tmp_path / "masks")
    view = read_view(write_view(tmp_path, "{files: masks}"))
    settings = AugmentSettings(flip=float(flipped), crop_padding=0, erase=0)
    random = np.random.default_rng(1)
    image = random.integers(1, 200, (*SIZE, 3), np.uint8)
    draws = draw(settings, 1, view.size, random)
    done = apply([view.masked(image, "a.jpg", (255, 255, 255))], view, draws, settings, (255, 255, 255))
    shown = image[:, ::-1] if flipped else image
    kept = np.s_[:, 16:] if flipped else np.s_[:, :16]
    expected = np.full_like(image, 255)
    expected[kept] = shown[kept]
    assert np.array_equal(done.images[0], expected) and done.flipped[0] == flipped


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("{files: nowhere}", "no such folder"),
        ("{file: masks}", "Did you mean 'files'"),
        ("{files: masks, missing: skip}", "one of error, whole"),
        ("{keypoints: points.json}", "the fields keypoints, parts"),
        ("{keypoints: points.json, parts: [tors]}", "Did you mean 'torso'"),
        ("{keypoints: points.json, parts: [torso], thickness: wide}", "expected a number"),
        ("{keypoints: points.json, parts: [torso], confidence: 2}", "from 0 to 1"),
        ("{keypoints: none.json, parts: [torso]}", "No such file"),
        ("{keypoints: broken.json, parts: [torso]}", "expected JSON"),
        ("{keypoints: short.json, parts: [torso]}", "for each of 17 points"),
        ("{keypoints: broken.csv, parts: [torso]}", "Did you mean 'nose'"),
        ("masks", "got str"),
    ],
)
def test_mistakes_are_named_before_any_work(tmp_path, mask, message):
    left_half(tmp_path / "masks")
    (tmp_path / "points.json").write_text(json.dumps({"a.jpg": points()}))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "short.json").write_text('{"a.jpg": [[1, 2, 3]]}')
    (tmp_path / "broken.csv").write_text("image,point,x,y\na.jpg,nos,1,2\n")
    with pytest.raises(UserError) as error:
        read_view(write_view(tmp_path, mask))
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x89PNG\r\n\x1a\n"])
def test_damaged_masks_are_user_errors(tmp_path, content):
    for name in ("a.png", "a.npy"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="mask"):
            MaskFiles(tmp_path)("a.jpg", SIZE)
        (tmp_path / name).unlink()
        MaskFiles.__call__.__globals__["_mask_files"].cache_clear()
    np.save(tmp_path / "a.npy", np.ones(SIZE, np.float32))
    with pytest.raises(UserError, match="float32"):
        MaskFiles(tmp_path)("a.jpg", SIZE)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_a_mask_is_found_in_another_unicode_form(tmp_path, on_disk):
    left_half(tmp_path / "masks", unicodedata.normalize(on_disk, "café.png"))
    (tmp_path / "points.json").write_text(json.dumps({unicodedata.normalize(on_disk, "café.jpg"): points()}))
    drawn = KeyPointMask(tmp_path / "points.json", ("torso",))
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "query/café.jpg")
        assert MaskFiles(tmp_path / "masks")(name, SIZE).mean() == 127.5
        assert drawn(name, SIZE).any()


def test_two_masks_of_one_name_are_refused(tmp_path):
    left_half(tmp_path, "a.png")
    np.save(tmp_path / "a.npy", np.ones(SIZE, bool))
    with pytest.raises(UserError, match="one mask for each name, got two for 'a'"):
        MaskFiles(tmp_path)("a.jpg", SIZE)


def test_a_mask_that_is_turned_otherwise_than_its_image_is_refused(tmp_path):
    """The mask of a photo whose EXIF orientation the segmenting tool did not apply."""
    left_half(tmp_path, "a.png", SIZE[::-1])
    with pytest.raises(UserError, match=r"(?s)higher than wide, like image a.jpg, got 64 x 32 .* EXIF"):
        MaskFiles(tmp_path)("a.jpg", SIZE)
    assert MaskFiles(tmp_path)("a.jpg", (40, 40)).shape == (40, 40), "a square has no orientation"
