"""Photos of many pixels: in memory once, and at a part of their size where only a small input is needed."""

import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.data import images
from rewho.data.images import check_header, decode, decoding_bytes

NEEDED = (192, 96)


def smooth(height, width):
    """Return a photo's kind of image, without noise of single pixels."""
    draw = np.random.default_rng(1).integers(0, 256, (height // 200, width // 200, 3), dtype=np.uint8)
    return cv2.resize(draw, (width, height), interpolation=cv2.INTER_CUBIC)


def turned(jpeg, turn=6):
    """Return a JPEG with an EXIF orientation: 6, as phones write it, is to be turned by 90 degrees clockwise."""
    entry = struct.pack("<HHII", 0x112, 3, 1, turn)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def encode(ending, pixels):
    return cv2.imencode(ending, pixels)[1].tobytes()


@pytest.mark.parametrize(("height", "width", "part"), [(1535, 3000, 1), (1536, 1540, 2), (3079, 4001, 4)])
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(height, width, part):
    jpeg = encode(".jpg", smooth(height, width))
    whole, reduced = decode(jpeg), decode(jpeg, least=NEEDED)
    assert whole.shape == (height, width, 3)
    assert reduced.shape == (-(-height // part), -(-width // part), 3)
    small = [cv2.resize(one, NEEDED[::-1], interpolation=cv2.INTER_AREA).astype(int) for one in (whole, reduced)]
    assert np.abs(small[0] - small[1]).mean() < 2
    upright = decode(turned(jpeg), least=NEEDED)
    assert (upright == np.rot90(reduced, -1)).all()


def test_small_and_other_images_are_decoded_whole():
    for ending, size in ((".jpg", (1500, 1500)), (".png", (1600, 1600)), (".webp", (1600, 1600))):
        image = encode(ending, smooth(*size))
        assert np.array_equal(decode(image, least=NEEDED), decode(image))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp"])
def test_images_decoded_in_place_are_those_of_opencv(ending, monkeypatch):
    image = encode(ending, smooth(1600, 1500))
    for content in (image, *map(turned, [image] * 9, range(9))) if ending == ".jpg" else (image,):
        expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert np.array_equal(decode(content), expected)
    cut = bytearray(image)
    cut[len(cut) // 3 : len(cut) // 2] = b"\xff\xd9" * ((len(cut) // 2 - len(cut) // 3) // 2)
    found = []
    for large in (images.LARGE, 2**40):  # also damaged ones are as OpenCV reads them, or refused
        monkeypatch.setattr(images, "LARGE", large)
        try:
            found.append(decode(bytes(cut)).tobytes())
        except UserError as error:
            found.append(str(error))
    assert found[0] == found[1]


MEASURE = """
import sys
from rewho.data.images import decode
from pathlib import Path
def read(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) / 1e3
content = Path(sys.argv[1]).read_bytes()
decode(Path(sys.argv[2]).read_bytes())
before = read("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
decode(content, least=None if sys.argv[3] == "whole" else (192, 96))
print(read("VmHWM") - before)
"""


def measure(folder, ending, content, least):
    """Return the megabytes that decoding takes in a process of its own."""
    (folder / "photo").write_bytes(content)
    (folder / "small").write_bytes(encode(ending, smooth(300, 400)))
    words = [sys.executable, "-c", MEASURE, str(folder / "photo"), str(folder / "small"), least]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(("ending", "least", "most"), [(".jpg", "whole", 45), (".png", "whole", 45), (".jpg", "", 20)])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_photo_of_12_megapixels_is_in_memory_at_most_once(tmp_path, ending, least, most):
    assert measure(tmp_path, ending, encode(ending, smooth(3000, 4000)), least) < most


KINDS = {
    "a progressive JPEG": (".jpg", {"quality": 90, "progressive": True, "subsampling": 0}, "RGB"),
    "a progressive JPEG of four colours": (".jpg", {"quality": 90, "progressive": True}, "CMYK"),
    "a transparent PNG": (".png", {"compress_level": 1}, "RGBA"),
    "a lossless WebP": (".webp", {"lossless": True, "method": 0}, "RGB"),
    "a transparent WebP": (".webp", {"quality": 80, "method": 0}, "RGBA"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_decoding_takes_what_the_header_tells(tmp_path, kind):
    pil = pytest.importorskip("PIL.Image")
    ending, options, colours = KINDS[kind]
    image = pil.fromarray(smooth(2000, 3000)).convert(colours)
    if colours == "RGBA":
        image.putalpha(pil.linear_gradient("L").resize(image.size))
    image.save(tmp_path / f"photo{ending}", **options)
    content = (tmp_path / f"photo{ending}").read_bytes()
    told = decoding_bytes(check_header(content, "x")) / 1e6
    assert told > 1.3 * 18, "more than other images of as many pixels"
    assert 0.75 * told < measure(tmp_path, ending, content, "whole") < told + 6


def test_a_part_is_cut_out_of_the_upright_image():
    photo = turned(encode(".jpg", smooth(1600, 2000)))
    part = decode(photo, cut=lambda upright: np.ascontiguousarray(upright[100:300, 50:90]))
    assert np.array_equal(part, decode(photo)[100:300, 50:90]) and part.base is None
