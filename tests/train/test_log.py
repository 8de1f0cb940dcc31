"""The log of a run can be watched while it grows, and is cut back to what a checkpoint knows."""

from rewho.train.log import LOG, RunLog, read_log


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
