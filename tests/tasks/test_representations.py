"""What teachers say of images (equation 2 of Factorized Distillation) against golden values, stored and online."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from rewho.data.views import View
from rewho.embedding.foreign_networks import Teacher
from rewho.tasks.distillation import OnlineTeachers
from rewho.tasks.representations import write_representations

HEIGHT, WIDTH = 8, 4
TOP, BOTTOM = 4, 6  # rows of the view
NOTHING = 255  # a row that there is not, outside the view


class Lookup(nn.Module):
    """A teacher that gives a row of a table: the first pixel is the row, the last one that of the mirror image."""

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", torch.tensor(table))

    def forward(self, images):
        return self.table[images[:, 0, 0, 0].round().long()]


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "pooling_views" / "sr.npz", allow_pickle=False)


@pytest.fixture(params=[WIDTH, WIDTH // 2])
def columns(request):
    """Width of the view in pixels: the paper's whole stripe, and one that a mirrored image has elsewhere."""
    return request.param


@pytest.fixture
def teacher(golden, columns):
    table = np.concatenate([golden["teacher_plain"], golden["teacher_flipped"]])
    size = (BOTTOM - TOP, columns)  # that of the box, so that nothing is resized
    view = View("part", Fraction(TOP, HEIGHT), Fraction(BOTTOM, HEIGHT), Fraction(0), Fraction(columns, WIDTH), size)
    return Teacher("lookup", view, table.shape[1], "", Lookup(table).eval(), torch.device("cpu"), (0.0, 0.0, 0.0))


@pytest.fixture
def images(golden, columns):
    """Images that say which row they are, in the teacher's view alone."""
    count = len(golden["sr"])
    found = np.full((count, HEIGHT, WIDTH, 3), NOTHING, np.uint8)
    found[:, TOP:BOTTOM, 0] = np.arange(count)[:, None, None]
    found[:, TOP:BOTTOM, columns - 1] = np.arange(count, 2 * count)[:, None, None]
    return found


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_stored_representations_equal_golden(golden, teacher, images, tmp_path, batch):
    files = [tmp_path / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        cv2.imwrite(str(file), image)
    stored = tmp_path / "part.npy"
    write_representations(stored, teacher.stream(files, batch=batch), len(files), teacher.width, "float32")
    np.testing.assert_allclose(np.load(stored), golden["sr"], rtol=0, atol=1e-6)


def test_without_the_mirror_image_it_is_the_teachers_plain_answer(golden, teacher, images, columns):
    cut = images[:, TOP:BOTTOM, :columns]
    (plain,) = teacher.embed_batches([cut], flip=False)
    (mirrored,) = teacher.embed_batches([np.ascontiguousarray(cut[:, :, ::-1])], flip=False)
    np.testing.assert_array_equal(plain, golden["teacher_plain"])
    np.testing.assert_array_equal(mirrored, golden["teacher_flipped"])


@pytest.mark.parametrize("flipped", [[False] * 4, [True] * 4, [False, True, True, False]])
def test_representations_made_online_equal_golden_whether_the_students_image_is_flipped(
    golden, teacher, images, flipped
):
    shown = [image[:, ::-1] if flip else image for image, flip in zip(images, flipped, strict=True)]
    images = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)
    (found,) = OnlineTeachers([teacher])(images, torch.tensor(flipped))
    np.testing.assert_allclose(found, golden["sr"], rtol=0, atol=1e-6)


def test_representations_made_online_do_not_change_with_the_students_precision(images, columns):
    torch.manual_seed(1)
    view = View("part", Fraction(1, 2), Fraction(3, 4), Fraction(0), Fraction(columns, WIDTH), (16, 16))
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    online = OnlineTeachers([Teacher("t", view, 8, "", network, torch.device("cpu"), (0.0, 0.0, 0.0))])
    images = torch.randint(0, 255, (4, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    (full,) = online(images, torch.zeros(4, dtype=torch.bool))
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = online(images, torch.zeros(4, dtype=torch.bool))
    assert found.dtype == torch.float32 and torch.equal(found, full)
