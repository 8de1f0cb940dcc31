"""Rank sheets: frames, badges and images are where and what they should be, for images of any size."""

import warnings

import cv2
import numpy as np
import pytest

from rewho.report.rank_sheet import (
    BACKGROUND,
    BADGE,
    BLUE,
    CELL_HEIGHT,
    CELL_WIDTH,
    COLOURS,
    FRAME,
    GREEN,
    GREY,
    RED,
    SheetCell,
    SheetRow,
    cell_corner,
    encode_jpeg,
    fit_image,
    rank_sheet,
    thumbnail,
)

VERDICTS = ("same camera", "hit", "miss", "junk", "hit")
FRAMES = (GREY, GREEN, RED, GREY, GREEN)


def plain(colour, height=128, width=64):
    return np.full((height, width, 3), colour, np.uint8)


def row(cells, **given):
    return SheetRow(plain((10, 20, 30)), "query.jpg", "7", "2", cells, **given)


@pytest.fixture(scope="module")
def sheet():
    cells = [SheetCell(plain((250, 120, 10)), verdict, 0.1 * k) for k, verdict in enumerate(VERDICTS)]
    return rank_sheet([row(cells), row(cells[::-1])])


def frame(sheet, line, column):
    """Return the pixels of a cell's frame, without the badge's corner."""
    x, y = cell_corner(line, column)
    cell = sheet[y : y + CELL_HEIGHT, x : x + CELL_WIDTH]
    sides = [cell[:FRAME, BADGE:], cell[-FRAME:], cell[BADGE:, :FRAME], cell[:, -FRAME:]]
    return np.concatenate([side.reshape(-1, 3) for side in sides])


@pytest.mark.parametrize("line", [0, 1])
def test_each_frame_has_the_colour_of_its_verdict(sheet, line):
    assert (frame(sheet, line, -1) == BLUE).all()
    for column, colour in enumerate(FRAMES[::-1] if line else FRAMES):
        assert (frame(sheet, line, column) == colour).all(), (line, column)


def test_the_colours_are_green_red_and_grey():
    assert GREEN[1] > 2 * GREEN[0]
    assert RED[0] > 2 * RED[1]
    assert len(set(GREY)) == 1
    assert COLOURS["same camera"] == COLOURS["junk"] == GREY


def test_badges_tell_by_shape_what_frames_tell_by_colour(sheet):
    shapes = {}
    for column, verdict in enumerate(VERDICTS):
        x, y = cell_corner(0, column)
        badge = sheet[y : y + BADGE, x : x + BADGE]
        assert (badge.reshape(-1, 3) == COLOURS[verdict]).all(axis=1).mean() > 0.3
        shapes[verdict] = badge.min(axis=2) > 200
        assert shapes[verdict].sum() > 10
    assert (shapes["same camera"] == shapes["junk"]).all()
    assert (shapes["hit"] ^ shapes["miss"]).sum() > 15
    assert (shapes["hit"] ^ shapes["junk"]).sum() > 15
    assert (shapes["miss"] ^ shapes["junk"]).sum() > 15


def test_ranked_images_keep_their_colour_and_others_lose_it(sheet):
    for column, verdict in enumerate(VERDICTS):
        x, y = cell_corner(0, column)
        pixel = sheet[y + CELL_HEIGHT // 2, x + CELL_WIDTH // 2].tolist()
        assert (pixel == [250, 120, 10]) == (verdict in ("hit", "miss"))
        assert (len(set(pixel)) == 1) == (verdict not in ("hit", "miss"))


def test_captions_are_written_below_every_cell_and_nowhere_in_the_images(sheet):
    for column in range(-1, len(VERDICTS)):
        x, y = cell_corner(0, column)
        caption = sheet[y + CELL_HEIGHT + 2 : y + CELL_HEIGHT + 20, x : x + CELL_WIDTH]
        assert caption.min() < 120
    x, y = cell_corner(0, -1)
    assert (sheet[y + FRAME : y + CELL_HEIGHT - FRAME, x + FRAME : x + CELL_WIDTH - FRAME] == (10, 20, 30)).all()


def test_excluded_images_do_not_count_as_ranks():
    cells = [SheetCell(plain(0), verdict, 0.1) for verdict in VERDICTS]
    assert row(cells).ranks() == [None, 1, 2, None, 3]
    assert row([]).ranks() == []


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (37, 211), (128, 64), (300, 100), (1080, 1920), (5, 3)])
def test_images_of_any_size_fit_and_keep_their_aspect(size):
    fitted = fit_image(plain((200, 10, 10), *size))
    assert fitted.shape == (128, 64, 3)
    inside = np.argwhere((fitted == (200, 10, 10)).all(axis=2))
    height, width = inside.max(axis=0) - inside.min(axis=0) + 1
    assert height == 128 or width == 64
    scale = min(128 / size[0], 64 / size[1])
    assert abs(height - max(1, scale * size[0])) <= 0.5
    assert abs(width - max(1, scale * size[1])) <= 0.5
    outside = np.delete(fitted.reshape(-1, 3), np.flatnonzero((fitted == (200, 10, 10)).all(axis=2)), axis=0)
    assert (outside == BACKGROUND).all()


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_not_a_image_is_refused(image):
    with pytest.raises(ValueError, match="uint8"):
        fit_image(image)


def test_thumbnails_of_excluded_images_stay_recognisable():
    image = plain((255, 255, 255))
    image[:64] = (0, 0, 0)
    faded = thumbnail(SheetCell(image, "junk", 0.0))
    assert faded[100, 32, 0] - faded[20, 32, 0] > 100
    assert faded[20, 32, 0] > 80, "faded"


def test_rows_of_unequal_length_and_without_cells():
    cells = [SheetCell(plain(0), "miss", 0.5)] * 12
    wide = rank_sheet([row(cells), row(cells[:1]), row([])])
    x, y = cell_corner(0, 11)
    assert x + CELL_WIDTH <= wide.shape[1]
    x, y = cell_corner(1, 5)
    assert (wide[y : y + CELL_HEIGHT, x : x + CELL_WIDTH] == 255).all()
    assert rank_sheet([row([])]).shape[0] < wide.shape[0]
    with pytest.raises(ValueError, match="at least one row"):
        rank_sheet([])


def test_any_name_is_written_and_long_ones_stay_on_the_sheet():
    for name in ("$\\frac{", "名前", "x" * 400, "0001_c1s1_001051_00.jpg" * 9, "a\nb\x00\udc80", ""):
        cells = [SheetCell(plain(0), "hit", 12345.678)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn = rank_sheet([SheetRow(plain(0), name, name, name, cells, note=name)])
        assert (drawn[:, -2:] == 255).all(), "the title runs over the margin"


def test_a_title_says_who_and_where():
    assert SheetRow(plain(0), "q.jpg", "7").title() == "person 7"
    assert row([], note="AP 3.0 %").title() == "person 7 · camera 2 · AP 3.0 %"


def test_same_rows_same_bytes_and_small_files(sheet):
    noise = np.random.default_rng(1).integers(0, 256, (256, 128, 3)).astype(np.uint8)
    rows = [row([SheetCell(noise, "hit", 0.1)] * 10)] * 10
    files = [encode_jpeg(rank_sheet(rows)) for _ in range(2)]
    assert files[0] == files[1]
    assert len(files[0]) < 2_000_000
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(sheet), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert decoded.shape == sheet.shape
    assert np.abs(decoded.astype(int) - sheet).mean() < 6, "red and blue in their places"
