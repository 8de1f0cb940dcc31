"""The text that a clone without Git LFS has in place of a large file is called that, wherever a file is read."""

import pytest

from rewho.core.check import UserError
from rewho.core.files import read_text
from rewho.core.onnx_session import OnnxSession
from rewho.core.tensors import read_torch, read_weights
from rewho.data.datasets import read_settings
from rewho.data.images import decode, read_all
from rewho.data.view_masks import _read_mask_file
from rewho.embedding.embedder import load
from rewho.settings import DataSettings
from rewho.settings.answers import LookSettings
from rewho.settings.recipe import read_recipe
from rewho.stages import look
from rewho.video.container import check_file_kind
from rewho.video.people import VideoFailure
from rewho.video.replay_detector import ReplayDetector

TEXT = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 132735\n"
READERS = {
    "a.pth": read_weights,
    "a.ckpt": read_torch,
    "a.safetensors": read_weights,
    "a.onnx": lambda path: OnnxSession(path, "a detector"),
    "a.csv": lambda path: read_settings(DataSettings(path)),
    "a.yaml": read_recipe,
    "a.txt": read_text,
    "a.jpg": decode,
    "b.jpg": lambda path: read_all(decode, [path, path]),
    "c.jpg": lambda path: decode(path.read_bytes()),
    "mask.npy": _read_mask_file,
    "a.det.txt": lambda path: ReplayDetector(path, 1).read(path),
    "model.json": lambda path: load(path.parent),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pointer_is_named_with_the_command_that_fetches_the_file(tmp_path, name):
    (tmp_path / name).write_bytes(TEXT)
    (tmp_path / "model.safetensors").write_bytes(TEXT)
    with pytest.raises(UserError) as error:
        READERS[name](tmp_path / name)
    assert "a Git LFS pointer, not the file itself" in str(error.value) and "`git lfs pull`" in error.value.fix


def test_a_video_that_is_a_pointer_is_named_so(tmp_path):
    (tmp_path / "a.mp4").write_bytes(TEXT)
    with pytest.raises(VideoFailure, match="not a video: a Git LFS pointer, not the file itself: `git lfs pull`"):
        check_file_kind(tmp_path / "a.mp4")


@pytest.mark.parametrize("ending", ["pth", "npy", "mp4", "onnx", "jpg", "csv", "bin", "zip", "safetensors"])
def test_look_proposes_nothing_to_do_with_a_pointer(tmp_path, ending):
    (tmp_path / f"a.{ending}").write_bytes(TEXT)
    text = look.run(LookSettings(path=tmp_path / f"a.{ending}"))
    assert "Git LFS pointer" in text and "git lfs pull" in text and "next:" not in text


def test_a_large_file_that_begins_like_one_is_none(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT + b"x" * 2000)
    assert read_text(tmp_path / "a.txt").startswith("version https://git-lfs")
