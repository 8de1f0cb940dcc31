"""Compute and store each teacher's embedding of every training image (FD section 3.2, equation 2).

Without augmentation; mean of image and mirror image. An interrupted run resumes with the first incomplete view.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import plain
from rewho.core.lock import release_locks
from rewho.core.progress import Progress, say
from rewho.core.runtime import StopRequest, run_in_processes
from rewho.core.stage import Stage
from rewho.data.datasets import read_settings
from rewho.data.table import ImageTable
from rewho.data.views import box_of
from rewho.embedding.foreign_networks import Teacher, open_teacher
from rewho.settings import RepresentSettings
from rewho.settings.fields import check
from rewho.tasks.labelled import select_training_part
from rewho.tasks.representations import IMAGES, TeacherRecord, array_file, write_index, write_representations
from rewho.tasks.teachers import check_one_per_view, find_teachers

FREE_SETTINGS = ("out", "teachers", "data.root", "data.share_list", "data.workers", "data.memory_gb", "batch", "engine")


@run_in_processes
@release_locks
def run(settings: RepresentSettings) -> Path:
    """Write the representations; return the folder with one array per view and representations.json."""
    check(settings)
    began = time.monotonic()
    part = select_training_part(read_settings(settings.data))
    teachers = [open_teacher(source, None, settings.engine) for source in find_teachers(settings.teachers)]
    records = [_record(teacher) for teacher in teachers]
    check_one_per_view([record.view for record in records])
    inputs = {"rows": part.digest(), IMAGES: part.hash_contents()}
    for teacher, record in zip(teachers, records, strict=True):
        inputs |= {f"teacher {record.view}": record.digest} | teacher.view.inputs()
    stage = Stage(settings.out, "represent", plain(settings), inputs, FREE_SETTINGS)
    if stage.begin() == "finished":
        return settings.out
    with StopRequest() as stop:
        files = [
            _represent(stage, settings, part, teacher, record, f"{number} of {len(records)}", stop)
            for number, (teacher, record) in enumerate(zip(teachers, records, strict=True), 1)
        ]
    index = write_index(settings.out, part.digest(), len(part), settings.dtype, records)
    counts = {"images": len(part), "views": len(records), "numbers": sum(record.width for record in records)}
    stage.finish([*files, index], counts, time.monotonic() - began)
    return settings.out


def _record(teacher: Teacher) -> TeacherRecord:
    return TeacherRecord(teacher.view.name, box_of(teacher.view), teacher.width, teacher.name, teacher.digest)


def _represent(
    stage: Stage,
    settings: RepresentSettings,
    part: ImageTable,
    teacher: Teacher,
    record: TeacherRecord,
    place: str,
    stop: StopRequest,
) -> Path:
    """Write one view's array unless an earlier run wrote it."""
    file = array_file(stage.folder, record.view)
    if stage.is_recorded(file):
        say(f"{record.view}: already written")
        return file
    images = [part.file(row) for row in range(len(part))]
    progress = Progress(f"{record.view} ({place})", len(images), unit="images")

    def rows() -> Iterator[NDArray[np.float32]]:
        for batch in teacher.stream(images, batch=settings.batch):
            stop.end_if_wanted(f"the views before {record.view} are in {settings.out}")
            yield batch
            progress.advance(len(batch))

    try:
        return stage.record_file(write_representations(file, rows(), len(images), record.width, settings.dtype))
    finally:
        progress.close()
