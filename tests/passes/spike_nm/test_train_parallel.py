"""Training in two processes by torch's distributed data parallel: equal networks in both, one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn

from spikec.compiler.diagnostics import CompileError
from spikec.passes.spike_nm.train import Learning, Pattern, Training, attach, train

PROCESSES = 2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))


def batches(rank: int, number: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    return [(torch.randn(12, 8, generator=generator), torch.arange(12) % 3) for _ in range(number)]


def work(rank: int, folder: str) -> None:
    """Train one process's part, twice; then diverge in one process alone."""
    torch.set_num_threads(1)
    root = Path(folder)
    distributed.init_process_group("gloo", init_method=f"file://{root / 'meet'}", rank=rank, world_size=PROCESSES)
    try:
        made: list[Any] = []
        for _ in range(2):  # the second time all is in the checkpoint
            net = network()
            masks = attach(net, Pattern(1, 4), Learning())
            trained = train(
                masks,
                batches(rank),
                nn.functional.cross_entropy,
                Training(epochs=2),
                checkpoint=root / "training.pt",
            )
            distributed.barrier()
            made.append((net.state_dict(), trained.losses))
        torch.save(made, root / f"made{rank}.pt")
        net = network()
        spoilt = [(x * float("nan") if rank else x, y) for x, y in batches(rank)]
        with pytest.raises(CompileError, match="spike-nm/nan"):
            train(attach(net, Pattern(1, 4)), spoilt, nn.functional.cross_entropy, Training(epochs=1))
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    multiprocessing.spawn(work, (str(tmp_path),), nprocs=PROCESSES)  # type: ignore[no-untyped-call]
    first, second = (torch.load(tmp_path / f"made{rank}.pt", weights_only=True) for rank in range(PROCESSES))
    trained = {name for name, _ in network().named_parameters()}
    for name, tensor in first[0][0].items():
        assert torch.equal(tensor, first[1][0][name]), name
        assert torch.equal(tensor, second[0][0][name]) or "running" in name, name
    assert first[0][1] != second[0][1]  # each has data of its own
    assert trained
    assert not any(path.suffix == ".tmp" for path in tmp_path.iterdir())
