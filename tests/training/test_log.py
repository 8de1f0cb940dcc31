"""A log can be watched while it grows and is cut back to what a checkpoint knows; a run says what its steps took."""

import threading

import pytest
from toy_training import run, settings

from rewho.settings import DataSettings
from rewho.training.log import LOG, RunLog, read_log


def test_a_line_is_in_the_file_as_soon_as_it_is_written(tmp_path):
    log = RunLog(tmp_path, tensorboard=False)
    for step in (1, 2):
        log.write(step, {"total": 0.5 / step})
        assert [line["step"] for line in read_log(tmp_path)] == list(range(1, step + 1)), "neither closed nor saved"
    log.__exit__(None, None, None)


def test_what_a_checkpoint_does_not_know_is_cut_off(tmp_path):
    with RunLog(tmp_path, tensorboard=False) as log:
        log.write(1, {"total": 0.5})
        known = log.offset()
        assert known == (tmp_path / LOG).stat().st_size
        log.write(2, {"total": 0.25})
    with RunLog(tmp_path, known, 1, tensorboard=False) as log:
        log.write(2, {"total": 0.125})
    assert read_log(tmp_path) == [{"step": 1, "total": 0.5}, {"step": 2, "total": 0.125}]


def test_a_run_that_evaluates_says_how_long_its_steps_took(tmp_path, capsys, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr("rewho.core.progress.time", clock)

    def evaluate(_stop):
        clock.now += 180
        return {"mAP": 0.5}

    def step(_number, batch):
        clock.now += 2
        return batch

    run(settings(tmp_path, data=DataSettings(workers=0)), evaluate=evaluate, spoil=step)
    assert capsys.readouterr().err.splitlines()[-1] == "train: 40 steps in 1:20 (0.5/s)"


@pytest.mark.parametrize("damage", ["absent", "empty", "cut in a line", "another log"])
def test_a_log_that_lacks_lines_of_a_checkpoint_is_announced(tmp_path, damage, capsys):
    with RunLog(tmp_path, tensorboard=False) as log:
        for step in (1, 2):
            log.write(step, {"total": 0.5})
        known = log.offset()
    whole = (tmp_path / LOG).read_bytes()
    assert len(whole) == known
    others = {"empty": b"", "cut in a line": whole[:-3], "another log": whole[:-3] + b" " + whole[-3:]}
    (tmp_path / LOG).unlink()
    if damage in others:
        (tmp_path / LOG).write_bytes(others[damage])
    with RunLog(tmp_path, known, 2, tensorboard=False) as log:
        log.write(3, {"total": 0.25})
    said = capsys.readouterr().err
    assert "lines of earlier steps are missing" in said
    assert f"of the {known:,} at step 2" in said
    kept = [line["step"] for line in read_log(tmp_path)]
    assert kept == ([1, 3] if damage in ("cut in a line", "another log") else [3])


def test_a_whole_log_is_not_announced(tmp_path, capsys):
    with RunLog(tmp_path, tensorboard=False) as log:
        log.write(1, {"total": 0.5})
        known = log.offset()
    RunLog(tmp_path, known, 1, tensorboard=False).__exit__(None, None, None)
    assert capsys.readouterr().err == ""


def test_a_disk_that_is_full_is_told_with_the_name_of_the_log(tmp_path):
    with pytest.raises(OSError, match="No space left on device") as error, RunLog(tmp_path, tensorboard=False) as log:
        log._file = open("/dev/full", "w", buffering=1)  # noqa: PTH123, SIM115
        log.write(1, {"total": 0.5})
    assert error.value.filename == str(tmp_path / LOG)


def test_a_disk_that_is_full_under_tensorboard_is_told_once(tmp_path, monkeypatch, capsys):
    from tensorboard.summary.writer.record_writer import RecordWriter

    def refuse(_writer, _data):
        raise OSError(28, "No space left on device")

    before = threading.excepthook
    with pytest.raises(OSError, match="No space left on device") as error, RunLog(tmp_path) as log:
        monkeypatch.setattr(RecordWriter, "write", refuse)
        for step in range(1, 1000):
            log.write(step, {"total": 0.5})
            log._writer.flush()
    assert error.value.filename == str(tmp_path / LOG)
    assert "Traceback" not in capsys.readouterr().err and threading.excepthook is before
