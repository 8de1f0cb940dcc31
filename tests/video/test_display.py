"""Frames as they are meant to be seen: all eight orientations, pixels that are not square, HDR, the right stream."""

import gc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import barcode, read_number, write_clip

from rewho.settings import LimitSettings, SamplingSettings, ScreenSettings
from rewho.video.display import BRIGHTEST, HLG, PQ, to_rgb, tone_map
from rewho.video.frames import open_video, probe, sample_frames
from rewho.video.screen import screen_video

av = pytest.importorskip("av", reason="PyAV is an extra")
SAMPLING = SamplingSettings(every=2)
Flip = Callable[[np.ndarray], np.ndarray]
ONE = 1 << 16
ORIENTATIONS: list[tuple[tuple[int, int, int, int], Flip, str]] = [
    ((1, 0, 0, 1), lambda image: image, ""),
    ((-1, 0, 0, 1), lambda image: image[:, ::-1], "mirrored"),
    ((1, 0, 0, -1), lambda image: image[::-1], "mirrored; turned"),
    ((-1, 0, 0, -1), lambda image: image[::-1, ::-1], "turned"),
    ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2), "mirrored; turned"),
    ((0, 1, -1, 0), lambda image: np.rot90(image, -1), "turned"),  # clockwise, as a phone held upright writes it
    ((0, -1, 1, 0), np.rot90, "turned"),
    ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2), "mirrored; turned"),
]

HIGH_DEFINITION = [
    ((96, 128), "libx264", ""),
    ((576, 720), "libx264", ""),
    ((96, 1280), "libx264", "colours read as BT.709"),
    ((720, 128), "libx264", "colours read as BT.709"),
    ((720, 128), "mjpeg", ""),
]


def with_matrix(source: Path, path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write an MP4 file again with another display matrix (a, b, c, d) in its track header."""
    content = bytearray(source.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[place + offset : place + offset + 4] = (value * ONE).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("plain") / "plain.mp4", [barcode(5)] * 3)


@pytest.fixture(scope="module")
def plain_image(plain: Path) -> np.ndarray:
    return next(sample_frames(plain)).image


@pytest.mark.parametrize(("matrix", "flip", "changes"), ORIENTATIONS)
def test_every_orientation_of_the_display_matrix(
    plain: Path, plain_image: np.ndarray, tmp_path: Path, matrix: tuple[int, int, int, int], flip: Flip, changes: str
) -> None:
    """The pixels are those of the plain video, moved; expected from the definition x' = ax + cy, y' = bx + dy."""
    path = with_matrix(plain, tmp_path / "turned.mp4", matrix)
    with open_video(path) as video:
        known, image = video.probe, next(video.frames).image
    assert np.array_equal(image, flip(plain_image))
    assert image.flags.c_contiguous
    assert (known.height, known.width) == image.shape[:2]
    assert known.changes == changes


@pytest.mark.parametrize(
    ("kind", "codec", "aspect", "size"),
    [
        ("mp4", "libx264", Fraction(4, 3), (48, 85)),
        ("mkv", "libx264", Fraction(3, 4), (64, 64)),
        ("ts", "libx264", Fraction(2, 1), (48, 128)),
        ("avi", "mpeg4", Fraction(3, 2), (48, 96)),
        ("mp4", "libx264", Fraction(1, 1), (48, 64)),
    ],
)
def test_pixels_are_made_square(tmp_path: Path, kind: str, codec: str, aspect: Fraction, size: tuple[int, int]) -> None:
    path = write_clip(tmp_path / f"wide.{kind}", [barcode(77)] * 4, codec=codec, aspect=aspect)
    frame = next(sample_frames(path))
    known = probe(path)
    assert frame.image.shape == (*size, 3)
    assert read_number(frame.image) == 77
    assert (known.height, known.width) == size
    assert known.changes == ("" if aspect == 1 else f"pixels of {aspect} made square")


def test_pixels_are_made_square_before_the_image_is_turned(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "both.mp4", [barcode(3)] * 3, aspect=Fraction(2, 1), rotation=90)
    image = next(sample_frames(path)).image
    assert image.shape == (128, 48, 3)
    assert (probe(path).height, probe(path).width) == (128, 48)


def test_a_size_that_only_its_aspect_makes_too_large_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "absurd.mkv", [barcode(3)] * 3, aspect=Fraction(2, 1))
    known = probe(path, LimitSettings(megapixels=0.004))
    assert (known.reason, known.detail) == ("too large", "128 x 48 pixels")


def coded(light: float, transfer: int) -> float:
    """Return the code, 0 to 1, of light in cd/m² on a display of 1,000 cd/m² (ITU-R BT.2100), for grey."""
    if transfer == PQ:
        power = (light / 10_000) ** (2610 / 16384)
        return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    scene = (light / 1000) ** (1 / 1.2)
    return float(np.sqrt(3 * scene)) if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_greys_keep_their_light_and_highlights_their_order(transfer: int) -> None:
    """Grey of 10 % of diffuse white is code 255 · 0.1^(1/2.4) = 98 in both worlds; 1,000 cd/m² is the brightest."""
    lights = np.array([0, 20.3, 101.5, 203, 400, 700, 1000])
    image = np.array([[[round(BRIGHTEST * coded(light, transfer))] * 3 for light in lights]], np.uint16)
    grey = tone_map(image, transfer, wide_gamut=True)[0, :, 1].astype(int)
    assert grey[0] == 0
    assert abs(grey[1] - 98) <= 1
    assert abs(grey[2] - 191) <= 1
    assert 225 <= grey[3] < grey[4] < grey[5] < grey[6]
    assert grey[6] >= 254


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_videos_are_tone_mapped_and_marked_or_refused(tmp_path: Path, transfer: int, name: str) -> None:
    """A street of greys between 2 and 203 cd/m², coded as HDR, looks as the same light coded for a plain display."""
    light = np.linspace(2, 203, 64)
    grey = np.repeat([[round(255 * coded(one, transfer)) for one in light]], 48, 0)
    images = [np.repeat(grey[..., None], 3, 2).astype(np.uint8)] * 3
    path = write_clip(tmp_path / "hdr.mp4", images, transfer=transfer, options={"crf": "1"})
    image = next(sample_frames(path)).image.astype(int)
    expected = 255 * (np.minimum(light, 0.6 * 203) / 203) ** (1 / 2.4)
    low = light < 0.6 * 203
    assert np.abs(image[24, low].mean(-1) - expected[low]).max() <= 6, "levels of 8 bits are coarse in HDR"
    known = probe(path)
    assert known.changes == f"tone-mapped from HDR ({name})"
    judged = ScreenSettings(min_frames=1, static_frames=0)
    assert screen_video(known, judged) == ""
    assert screen_video(known, ScreenSettings(min_frames=1, static_frames=0, refuse_hdr=True)) == "HDR"


def test_the_largest_video_stream_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        sizes = [(18, 32), (48, 64), (48, 64)]
        streams = [container.add_stream("libx264", rate=25) for _ in sizes]
        for stream, (height, width) in zip(streams, sizes, strict=True):
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(6):
            for order, (stream, size) in enumerate(zip(streams, sizes, strict=True)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(barcode(100 * order + number, size), "rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    frames = list(sample_frames(path, SAMPLING))
    assert [read_number(frame.image) for frame in frames] == [100, 102, 104], "of equal ones the first"
    known = probe(path)
    assert (known.width, known.height, known.frames) == (64, 48, 6)
    assert known.changes == "stream 1 of 3 video streams"


@pytest.mark.parametrize(("size", "codec", "changes"), HIGH_DEFINITION)
def test_colours_of_high_definition_are_bt709_unless_the_file_says_otherwise(
    tmp_path: Path, size: tuple[int, int], codec: str, changes: str
) -> None:
    """What a file without a colour matrix means depends on its size; JPEG frames are BT.601 at every size."""
    image = np.full((*size, 3), (200, 30, 30), np.uint8)
    wanted = 1 if changes else 5
    form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = tmp_path / "red.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=5, width=size[1], height=size[0], pix_fmt=form, options={"qp": "4"})
        for at in range(3):
            frame = av.VideoFrame.from_ndarray(image).reformat(
                format=form, src_colorspace=wanted, dst_colorspace=wanted
            )
            frame.pts = at
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with open_video(path) as video:
        known, found = video.probe, next(video.frames).image
    assert np.abs(found[size[0] // 2, size[1] // 2].astype(int) - (200, 30, 30)).max() <= 4
    assert known.changes == changes


def test_a_long_video_starts_no_threads_per_frame():
    """Such threads ended decoders at their memory limit after some 200 frames, as an unreadable video."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("threads are counted in /proc")
    frames = [av.VideoFrame(640, 360, "yuv420p") for _ in range(60)]
    before = len(list(tasks.iterdir()))
    gc.disable()
    try:
        for frame in frames:
            to_rgb(frame)
        assert len(list(tasks.iterdir())) < before + 10
    finally:
        gc.enable()
