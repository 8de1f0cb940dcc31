"""Headers of images: sizes against OpenCV's own, and files that are no sound images."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from rewho.data.image_header import HeaderError, read_header

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 21, 3), dtype=np.uint8)
ENCODINGS = {
    "jpeg": (".jpg", []),
    "progressive": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "png": (".png", []),
    "bmp": (".bmp", []),
    "webp lossy": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
    "webp lossless": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
}


def encode(kind, pixels=PIXELS):
    ending, options = ENCODINGS[kind]
    return cv2.imencode(ending, pixels, options)[1].tobytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize("size", [(37, 21), (1, 1), (300, 5), (129, 1000)])
def test_sizes(kind, size):
    header = read_header(encode(kind, np.zeros((*size, 3), np.uint8)))
    assert (header.height, header.width) == size
    assert header.format == {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WebP"}[ENCODINGS[kind][0]]


@pytest.mark.parametrize("kind", ENCODINGS)
def test_grey_images(kind):
    assert read_header(encode(kind, PIXELS[:, :, 0]))[1:3] == (37, 21)


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize("left", [2, 3, 8, 11, 20, 25, 30, 0.5, 0.9, -1])
def test_cut_files_are_refused(kind, left):
    whole = encode(kind)
    cut = whole[: int(left * len(whole)) if isinstance(left, float) else left]
    with pytest.raises(HeaderError):
        read_header(cut)


def test_bytes_after_the_image_do_no_harm():
    for kind in ENCODINGS:
        assert read_header(encode(kind) + b"trailing")[1:3] == (37, 21)


def test_old_and_upside_down_bmp():
    old = b"BM" + struct.pack("<IHHIIHHHH", 0, 0, 0, 26, 12, 2, 3, 1, 24) + bytes(24)
    assert read_header(old)[1:3] == (3, 2)
    top_down = bytearray(encode("bmp"))
    struct.pack_into("<i", top_down, 22, -37)
    assert read_header(bytes(top_down))[1:3] == (37, 21)


def test_jpeg_with_fill_bytes_and_comments():
    jpeg = encode("jpeg")
    assert read_header(jpeg[:2] + b"\xff\xff\xff\xfe\x00\x05abc" + jpeg[2:])[1:3] == (37, 21)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "an empty file"),
        (b"GIF89a" + bytes(100), "GIF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1" + bytes(30), "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"II*\0" + bytes(30), "TIFF"),
        (b"\0\0\0\x1cftypheic" + bytes(30), "HEIC"),
        (b"PK\x03\x04" + bytes(30), "ZIP"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"\0" * 200, "unknown"),
        (b"BM", "unknown"),
        (b"\xff\xd8\xff\xd9", "without an image"),
    ],
)
def test_other_files_are_named(data, kind):
    with pytest.raises(HeaderError, match=kind):
        read_header(data)


def test_animated_png_and_webp():
    png = encode("png")
    with pytest.raises(HeaderError, match="animated PNG"):
        read_header(png[:33] + chunk(b"acTL", struct.pack(">II", 1000, 0)) + png[33:])
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + bytes(6)
    with pytest.raises(HeaderError, match="animated WebP"):
        read_header(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_too_much_metadata():
    png, jpeg = encode("png"), encode("jpeg")
    with pytest.raises(HeaderError, match="bytes of metadata"):
        read_header(png[:33] + chunk(b"iCCP", bytes(5 * 2**20)) + png[33:])
    segment = b"\xff\xe1\xff\xff" + bytes(0xFFFD)
    assert read_header(jpeg[:2] + segment * 10 + jpeg[2:])[1:3] == (37, 21)
    with pytest.raises(HeaderError, match="bytes of metadata"):
        read_header(jpeg[:2] + segment * 70 + jpeg[2:])


def test_chunk_and_scan_bombs():
    png, jpeg = encode("png"), encode("progressive")
    with pytest.raises(HeaderError, match="chunks"):
        read_header(png[:33] + chunk(b"tEXt", b"") * 100_001 + png[33:])
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    with pytest.raises(HeaderError, match="scans"):
        read_header(jpeg[:-2] + scan * 200 + b"\xff\xd9")


def test_no_pixels():
    png = bytearray(encode("png"))
    png[16:24] = bytes(8)
    with pytest.raises(HeaderError, match="0 x 0 pixels"):
        read_header(bytes(png))
