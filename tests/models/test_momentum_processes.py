"""Two processes with shuffled batch normalisation compute what one process with split batch normalisation does."""

import torch
from test_momentum import contrast, views
from torch import distributed

from rewho.losses.contrastive import contrastive_scores, info_nce
from rewho.models.momentum import MomentumContrast
from two_ranks import run_ranks

STEPS = 3
TRACKS = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 0, 9, 10, 2, 1, 11], [0, 1, 9, 9, 7, 12, 2, 3]])


def steps(module: MomentumContrast, part: slice, world: int) -> dict[str, torch.Tensor]:
    """Take a few steps of gradient descent on this process's part of each batch; return everything afterwards."""
    trained = [*module.encoder.parameters(), *module.projection.parameters()]
    for step in range(STEPS):
        first, second, order = (column[part] for column in views(seed=step))
        tracks = TRACKS[step][part] if module.queue.tracks is not None else None
        queries, keys, queue, _, related = module(first, second, order, tracks)
        loss = info_nce(contrastive_scores(queries, keys, queue, related=related))
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
            if world > 1:
                distributed.all_reduce(gradient)
            parameter.data.sub_(0.1 * gradient / world)
    return module.state_dict()


def one_of_two(rank: int, port: int, file: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    state = steps(contrast(4, tracked=True), slice(4 * rank, 4 * rank + 4), 2)
    if rank == 1:
        torch.save(state, file)
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    run_ranks(one_of_two, str(tmp_path / "state.pt"))
    two = torch.load(tmp_path / "state.pt", weights_only=True)
    one = steps(contrast(4, tracked=True), slice(0, 8), 1)
    assert int(one["queue.pointer"]) == STEPS * 8 % 11
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=0, msg=name)
    assert one["queue.tracks"].tolist() == torch.cat([TRACKS[1][5:], TRACKS[2]]).roll(24 % 11).tolist()
    untracked = steps(contrast(4), slice(0, 8), 1)
    assert (untracked["queue.keys"] - one["queue.keys"]).abs().max() > 1e-5, "masked keys must matter"
    unsplit = steps(contrast(), slice(0, 8), 1)
    assert (unsplit["queue.keys"] - one["queue.keys"]).abs().max() > 1e-3, "without split BN it must differ"
