"""Decoding, the store of decoded images, and hostile files."""

import os
import resource
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewho.core.check import UserError
from rewho.data.datasets import read
from rewho.data.images import PIXEL_LIMIT, Images, decode
from rewho.data.table import ImageTable

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 7, 3), dtype=np.uint8)


def encode(ending, pixels=PIXELS):
    """Encode an RGB image."""
    return cv2.imencode(ending, pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def plant(folder, number=5):
    """Write `number` PNGs of different sizes, and return their pixels."""
    draw = np.random.default_rng(1)
    images = [draw.integers(0, 256, (4 + i, 3 + 2 * i, 3), dtype=np.uint8) for i in range(number)]
    for i, image in enumerate(images):
        (folder / f"{i}.png").write_bytes(encode(".png", image))
    return images


def table_of(folder):
    names = tuple(sorted(path.name for path in folder.iterdir()))
    return ImageTable("planted", folder, names, np.arange(len(names)), [0] * len(names), ("pool",) * len(names))


@pytest.mark.parametrize("ending", [".png", ".bmp"])
def test_lossless_images_come_back_as_rgb(ending, tmp_path):
    assert (decode(encode(ending)) == PIXELS).all()
    (tmp_path / "wrong_ending.jpg").write_bytes(encode(ending))
    assert (decode(tmp_path / "wrong_ending.jpg") == PIXELS).all()


def test_jpeg_and_webp_keep_the_order_of_colours():
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, :, 0] = 200
    for ending in (".jpg", ".webp"):
        mean = decode(encode(ending, red)).mean(axis=(0, 1))
        assert mean[0] > 190 > 20 > mean[1:].max()


def test_grey_opaque_and_16_bit_become_rgb_uint8():
    grey = PIXELS[:, :, 0]
    assert (decode(encode(".png", grey)) == grey[:, :, None]).all()
    opaque = cv2.imencode(".png", np.dstack([PIXELS[:, :, ::-1], np.full_like(grey, 255)]))[1].tobytes()
    assert (decode(opaque) == PIXELS).all()
    deep = cv2.imencode(".png", PIXELS[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert decode(deep).dtype == np.uint8
    assert (decode(deep) == PIXELS).all()


def test_exif_orientation_is_honoured():
    """Orientation 6: the stored image has to be turned by 90 degrees clockwise."""
    smooth = cv2.resize(PIXELS[:4, :3], (24, 32))
    jpeg = encode(".jpg", smooth)
    entry = struct.pack("<HHII", 0x112, 3, 1, 6)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert (decode(turned) == np.rot90(decode(jpeg), -1)).all()


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused_and_named(ending, left, tmp_path):
    whole = encode(ending, np.tile(PIXELS, (10, 10, 1)))
    file = tmp_path / f"cut{ending}"
    file.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(UserError, match=f"cut{ending}"):
        decode(file)


@given(st.sampled_from([".jpg", ".png", ".bmp", ".webp"]), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files_give_a_image_or_an_error_never_a_crash(ending, data):
    damaged = bytearray(encode(ending))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(damaged), pixel_limit=10_000)
    except UserError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.size <= 30_000


def png_bomb(width, height):
    """A black-and-white PNG of zeros: 20,000 x 20,000 are 49 kB on disk, and 1.2 GB decoded."""
    squeeze = zlib.compressobj(9)
    row = bytes(width // 8 + 1)
    body = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def claims(ending, width, height):
    """A small image whose header claims another size."""
    data = bytearray(encode(ending))
    if ending == ".png":
        struct.pack_into(">II", data, 16, width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif ending == ".bmp":
        struct.pack_into("<ii", data, 18, width, height)
    elif ending == ".jpg":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    else:
        data = bytearray(cv2.imencode(".webp", PIXELS, [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes())
        struct.pack_into("<HH", data, 26, width & 0x3FFF, height & 0x3FFF)
    return bytes(data)


def test_image_bombs_are_refused_before_decoding(tmp_path):
    bombs = {
        "bomb.png": png_bomb(20_000, 20_000),
        "claims.png": claims(".png", 2**31 - 1, 2**31 - 1),
        "claims.bmp": claims(".bmp", 60_000, 60_000),
        "claims.jpg": claims(".jpg", 65_000, 65_000),
        "claims.webp": claims(".webp", 16_383, 16_383),
        "metadata.png": encode(".png")[:33] + chunk(b"iCCP", bytes(50_000_000)) + encode(".png")[33:],
        "animated.png": encode(".png")[:33] + chunk(b"acTL", struct.pack(">II", 9_999, 0)) + encode(".png")[33:],
        "fits.jpg": b"SIMPLE  =" + bytes(5_000),
        "psd.jpg": b"8BPS" + bytes(5_000),
        "eps.jpg": b"%!PS-Adobe-3.0 EPSF" + bytes(5_000),
        "pdf.jpg": b"%PDF-1.7" + bytes(5_000),
        "gif.jpg": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(5_000),
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(10**10)
    del bombs["metadata.png"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in [*bombs, "metadata.png", "sparse.jpg"]:
        start = time.process_time()
        with pytest.raises(UserError, match=name):
            decode(tmp_path / name)
        assert time.process_time() - start < 2  # a bomb that goes off takes minutes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_the_pixel_limit_is_a_limit():
    assert decode(encode(".png"), pixel_limit=12 * 7).shape == (12, 7, 3)
    with pytest.raises(UserError, match=r"at most 83 pixels, got 7 x 12"):
        decode(encode(".png"), pixel_limit=12 * 7 - 1)
    assert PIXEL_LIMIT * 3 < 100e6


def test_pipes_folders_and_missing_files_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("pipe.jpg", "pipe"),
        ("folder.jpg", "a folder"),
        ("none.jpg", "No such file"),
        ("a\0.jpg", "null"),
    ):
        with pytest.raises(UserError, match=reason):
            decode(tmp_path / name)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_store_holds_what_the_files_hold(tmp_path, threads):
    expected = plant(tmp_path, 200)
    table = table_of(tmp_path)
    images = Images(table, threads=threads)
    assert images.in_memory
    assert images.bytes == sum(image.size for image in expected)
    for row in (0, 7, 63, 64, 199, -1):
        assert (images[row] == expected[int(Path(table.paths[row]).stem)]).all()
    with pytest.raises(IndexError):
        images[200]


def test_beyond_the_memory_images_are_decoded_each_time(tmp_path):
    expected = plant(tmp_path)
    total = sum(image.size for image in expected)
    assert Images(table_of(tmp_path), total / 1e9).in_memory
    outside = Images(table_of(tmp_path), (total - 1) / 1e9)
    assert (outside.in_memory, outside.bytes, len(outside)) == (False, 0, 5)
    assert all((outside[row] == expected[row]).all() for row in range(5))
    assert outside[0] is not outside[0]


def test_images_in_memory_are_read_only_views(tmp_path):
    plant(tmp_path)
    images = Images(table_of(tmp_path))
    assert np.shares_memory(images[1], images[1])
    with pytest.raises(ValueError, match="read-only"):
        images[0][0, 0, 0] = 1


def test_a_turned_image_fits_its_place_in_memory(tmp_path):
    jpeg = encode(".jpg")
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, 6, 0)
    (tmp_path / "0.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    assert Images(table_of(tmp_path))[0].shape == (7, 12, 3)


def test_all_bad_files_are_reported_at_once(tmp_path):
    plant(tmp_path, 20)
    for i in (3, 5, 11, 17):
        (tmp_path / f"{i}.png").write_bytes(b"<html>" if i != 11 else encode(".png")[:-20])
    with pytest.raises(UserError, match=r"4 of 20") as caught:
        Images(table_of(tmp_path))
    assert str(caught.value).count(".png") == 3
    assert "1 more" in str(caught.value)


def test_files_that_only_decoding_shows_to_be_bad_are_reported_too(tmp_path):
    plant(tmp_path, 3)
    damaged = bytearray(encode(".png"))
    at = damaged.index(b"IDAT") + 10
    damaged[at : at + 20] = bytes(20)
    (tmp_path / "1.png").write_bytes(damaged)
    with pytest.raises(UserError, match=r"1\.png.*damaged PNG"):
        Images(table_of(tmp_path))


def test_progress_ends_at_the_total(tmp_path):
    plant(tmp_path, 130)
    seen: list[tuple[int, int]] = []
    Images(table_of(tmp_path), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (130, 130)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_real_images(shared):
    table = read(shared / "data" / "cuhk03-np").select("query").rows(range(200))
    images = Images(table)
    assert {image.shape for image in images} == {(128, 64, 3)}
    assert images.bytes == 200 * 128 * 64 * 3


def _with_alpha(hidden, alpha, ending=".png", dtype=np.uint8):
    """Encode an RGBA image whose colours under full transparency are `hidden`."""
    scale = np.iinfo(dtype).max // 255
    rgba = np.dstack([np.where(alpha[..., None] == 0, hidden, PIXELS[..., ::-1]), alpha]).astype(dtype) * scale
    return cv2.imencode(ending, rgba, [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else [])[1].tobytes()


ALPHA = np.zeros((12, 7), np.uint8)
ALPHA[2:9, 1:6], ALPHA[9:] = 255, 128


@pytest.mark.parametrize(("ending", "dtype"), [(".png", np.uint8), (".png", np.uint16), (".webp", np.uint8)])
def test_transparent_pixels_are_white_whatever_lies_under_them(ending, dtype):
    first, second = (decode(_with_alpha(hidden, ALPHA, ending, dtype)) for hidden in (0, 200))
    assert (first == second).all()
    assert (first[:2] == 255).all()
    assert np.abs(first[2:9, 1:6].astype(int) - PIXELS[2:9, 1:6]).max() <= (0 if ending == ".png" else 2)
    assert np.abs(first[9:].astype(int) - (PIXELS[9:] / 2 + 127)).max() <= 3


def test_grey_with_alpha_palettes_and_other_kinds_are_shown_as_viewers_do(tmp_path):
    pil = pytest.importorskip("PIL.Image")
    grey = pil.fromarray(np.dstack([PIXELS[..., 0], ALPHA]), "LA")
    palette = pil.fromarray(PIXELS).quantize(8)
    exif = pil.Exif()
    exif[0x112] = 6  # turn by 90 degrees
    cases = {
        "grey": (grey, {}),
        "palette": (palette, {"transparency": bytes([0, 128, *[255] * 6])}),
        "colour": (pil.fromarray(PIXELS), {"transparency": tuple(PIXELS[0, 0].tolist())}),
        "turned": (pil.fromarray(np.dstack([PIXELS, ALPHA]), "RGBA"), {"exif": exif}),
        "plain grey": (pil.fromarray(PIXELS[..., 0]), {}),
    }
    for name, (image, options) in cases.items():
        image.save(tmp_path / "x.png", **options)
        shown = pil.open(tmp_path / "x.png").convert("RGBA")
        expected = np.asarray(pil.alpha_composite(pil.new("RGBA", shown.size, "white"), shown))[..., :3]
        expected = np.rot90(expected, -1) if name == "turned" else expected
        assert np.abs(decode(tmp_path / "x.png").astype(int) - expected).max() <= 1, name
    pil.fromarray(PIXELS[..., 0]).save(tmp_path / "x.png", transparency=int(PIXELS[0, 0, 0]))
    with pytest.raises(UserError, match="a transparent grey"):
        decode(tmp_path / "x.png")
