"""More epochs for a finished training: it continues as one run of all epochs would, or not at all."""

from __future__ import annotations

from rewho.core.artifact import MANIFEST
from rewho.core.check import UserError, is_file
from rewho.core.progress import say
from rewho.core.record import REQUIRED, find_damage, read_record
from rewho.core.stage import Stage
from rewho.settings import TrainingSettings
from rewho.settings.schedule import find_dependence
from rewho.training.checkpoint import has_checkpoint


def reopen_for_more_epochs(stage: Stage, settings: TrainingSettings) -> None:
    """Reopen a finished run that is asked for more epochs and for nothing else; say what happens.

    The last checkpoint holds the whole state, and everything random is a function of the step. So the weights become
    those of one run with all epochs, if what the run did so far does not depend on their number. A learning rate that
    falls over the whole training (`cosine`) does, and so does a key encoder's momentum that rises over it.

    Raises:
        UserError: Fewer epochs are asked for than are finished, or the longer run would have been another one from its
            beginning, or its last checkpoint is gone.
    """
    manifest = settings.out / MANIFEST
    record = read_record(manifest, **REQUIRED) if is_file(manifest) else {}
    done = record.get("settings", {}).get("epochs")
    if not isinstance(done, int) or done == settings.epochs or record.get("stage") != stage.name:
        return
    if any(not line.startswith("epochs: ") for line in stage.differences(record)):
        return  # refused with all differences by `Stage.begin`
    what = f"--epochs {settings.epochs}"
    if settings.epochs < done:
        fix = f"Leave the finished run as it is, or choose another --out for one of {settings.epochs} epochs."
        got = f"{done} finished epochs in {settings.out}"
        raise UserError(what, expected="no fewer epochs than the run has done", got=got, fix=fix)
    if why := find_dependence(settings, done):
        raise UserError(
            what,
            expected="a run whose first epochs are the same however many follow",
            got=f"{done} finished epochs in {settings.out}, and {why}",
            fix=f"Begin a new run from its weights, with --init {settings.out} and another --out, or run all "
            f"{settings.epochs} epochs with another --out.",
        )
    if not has_checkpoint(settings.out):
        got, fix = f"none in {settings.out / 'checkpoints'}", "Restore the folder, or choose another --out."
        raise UserError(what, expected="the run's last checkpoint to continue from", got=got, fix=fix)
    if wrong := find_damage(settings.out):
        fix = "Restore it from a copy, or choose another --out to run it again."
        raise UserError(f"--out {settings.out}", expected="the files of the finished run", got=wrong, fix=fix)
    counts = record.get("counts", {})
    stage.reopen({"after_epochs": done, "to_epochs": settings.epochs, "after_steps": counts.get("steps")})
    say(
        f"{settings.out} has {done} finished epochs; continuing to {settings.epochs}, with the weights that one run of "
        f"{settings.epochs} epochs has (learning rate: {settings.optimizer.schedule})"
    )
