"""The training loop: schedules, checkpoints, distributed data parallel; and statistics gathered anew after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any

from spikec.compiler.context import Progress, Quiet
from spikec.compiler.diagnostics import Sink, fail, ignore, remark
from spikec.passes.finetune import checkpoint as checkpoints
from spikec.passes.finetune.guards import batches_of, modes_and_seeds, put_back_on_failure
from spikec.passes.spike_nm.train.attach import Masks
from spikec.passes.spike_nm.train.settings import Schedule

KIND = checkpoints.Kind(
    "spikec SpikeNM training 1", "spike-nm/checkpoint", "a SpikeNM training", "weights, patterns or settings"
)


@dataclass(frozen=True)
class Training:
    """Settings of a training: Adam, weights at `lr` that falls to 0 on a cosine, logits at `logit_lr` throughout.

    `seed` is of torch's generator, which is put back as it was at the end.
    """

    epochs: int = 30
    lr: float = 1e-3
    logit_lr: float = 1e-2
    weight_decay: float = 0.0
    seed: int = 0
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if self.epochs < 1:
            raise ValueError("epochs must be 1 or more")
        if not all(isfinite(value) and value > 0 for value in (self.lr, self.logit_lr)):
            raise ValueError("lr and logit_lr must be above 0")
        if not (isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError("weight_decay must be 0 or more")


@dataclass(frozen=True)
class Trained:
    """What a training did: the mean loss over the batches of each epoch (of this process)."""

    losses: tuple[float, ...]


def train(
    masks: Masks,
    loader: Any,
    loss: Callable[[Any, Any], Any],
    settings: Training | None = None,
    *,
    optimizer: Callable[[Any], Any] | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
    report: Sink = ignore,
) -> Trained:
    """Train a network and its masks, in place; `masks.freeze()` or `masks.export()` comes after it.

    Where torch.distributed has a process group, gradients are averaged over its processes (DistributedDataParallel):
    all begin with the same module and the same settings, each has its own part of the data, and the first one writes
    the checkpoint, which all must be able to read.

    Args:
        masks: what `attach` gave. The network's forward starts every batch from the initial state.
        loader: batches (inputs, targets), with a length: a DataLoader, or a list. Inputs as forward takes them.
        loss: gives a scalar of (what forward returns, targets).
        settings: see Training.
        optimizer: makes another optimizer of the parameter groups: weights first, then logits if they are learned.
        checkpoint: a file that is written after every epoch. If it is there, training goes on from it.
        progress: shows how far it has come.
        report: is told where training goes on.

    Returns:
        The losses. On any error, and on Ctrl-C, the module is as it was before; the checkpoint stays.

    Raises:
        CompileError: `spike-nm/...`: frozen masks, no batches, a loss, weights or logits that are no numbers, a
            checkpoint of something else.
    """
    settings = settings or Training()
    for layer, mask, _ in masks.weights():
        if mask.is_frozen:
            raise fail("spike-nm/frozen", "the masks are frozen", layer, "attach new ones, or train before freeze()")
    run = _Run(masks, loader, loss, settings, batches_of(loader, "spike-nm/loader"), progress or Quiet(), report)
    made = repr((settings, masks.pattern, masks.learning, list(masks.layers), run.steps, optimizer is not None))
    path = Path(checkpoint) if checkpoint is not None else None
    key = checkpoints.identity(masks.module, {}, made) if path is not None else ""
    with put_back_on_failure(masks.module), modes_and_seeds(masks.module):
        return run.through(optimizer or _adam, path, key)


def _adam(groups: Any) -> Any:
    import torch

    return torch.optim.Adam(groups)


@dataclass(frozen=True, eq=False)
class _Run:
    """One training under way."""

    masks: Masks
    loader: Any
    loss: Callable[[Any, Any], Any]
    settings: Training
    steps: int
    progress: Progress
    report: Sink

    def through(self, optimizer: Callable[[Any], Any], path: Path | None, key: str) -> Trained:
        """Train all epochs, from the checkpoint where there is one."""
        import torch

        settings, total = self.settings, self.settings.epochs * self.steps
        made = optimizer(self.masks.parameter_groups(settings.lr, settings.logit_lr, settings.weight_decay))
        falling = [lambda step: (1 + cos(pi * min(step / total, 1))) / 2, lambda step: 1.0]
        schedule = torch.optim.lr_scheduler.LambdaLR(made, falling[: len(made.param_groups)])
        parts = {"module": self.masks.module, "optimizer": made, "schedule": schedule}
        losses = self._resumed(parts, path, key)
        module = _parallel(self.masks.module)
        with self.progress.work("training N:M", total - len(losses) * self.steps) as advance:
            for epoch in range(len(losses), settings.epochs):
                # Anew in every epoch, so that a resumed run draws what an undisturbed one does.
                torch.manual_seed(settings.seed + epoch)
                losses.append(self._epoch(epoch, module, made, schedule, advance))
                if path is not None and _rank() == 0:
                    checkpoints.keep(path, key, parts, losses, KIND)
        made.zero_grad(set_to_none=True)
        return Trained(tuple(losses))

    def _resumed(self, parts: Mapping[str, Any], path: Path | None, key: str) -> list[float]:
        losses = checkpoints.resume(path, key, parts, KIND) if path is not None else []
        if losses:
            message = f"training goes on after epoch {len(losses)} of {self.settings.epochs}"
            self.report(remark("spike-nm/resumed", message, str(path)))
        return losses

    def _epoch(self, epoch: int, module: Any, optimizer: Any, schedule: Any, advance: Callable[[float], None]) -> float:
        import torch

        module.train()
        device = next(module.parameters()).device
        sampler: Any = getattr(self.loader, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        total, number = 0.0, 0
        for number, batch in enumerate(self.loader, 1):
            if number > self.steps:
                raise fail("spike-nm/loader", f"the loader gives more than the {self.steps} batches that it tells of")
            self.masks.schedule(
                self.settings.schedule, (epoch * self.steps + number - 1) / (self.settings.epochs * self.steps)
            )
            inputs, targets = (part.to(device) if isinstance(part, torch.Tensor) else part for part in _pair(batch))
            optimizer.zero_grad(set_to_none=True)
            value = self._loss(module(inputs), targets, f"batch {number} of epoch {epoch + 1}")
            (value + self.masks.distillation_loss()).backward()
            optimizer.step()
            schedule.step()
            total += float(value.detach())
            advance(1)
        if number < self.steps:
            help = "an iterator is used up after one epoch; give the DataLoader itself"
            raise fail("spike-nm/loader", f"the loader gave {number} batches where it tells of {self.steps}", help=help)
        self.masks.check()
        return total / number

    def _loss(self, made: Any, targets: Any, where: str) -> Any:
        import torch

        value = self.loss(made, targets)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            kind = f"shape {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise fail("spike-nm/loss", f"the loss is no single number: {kind}", where, "take its mean")
        if not _everywhere(bool(torch.isfinite(value)), value.device):
            self.masks.check()
            help = "a lower lr or logit_lr, or look for a NaN in the data; the module is as it was before"
            raise fail("spike-nm/nan", f"the loss is {float(value.detach())}", where, help)
        if not value.requires_grad:
            help = "train with a surrogate gradient (spike_grad), and return what it flows through"
            raise fail("spike-nm/no-gradient", "the loss does not depend on any weight", where, help)
        return value.reshape(())


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise fail("spike-nm/loader", "a batch is a pair (inputs, targets)", help="wrap the loader if yours has more")
    return batch[0], batch[1]


def _grouped() -> bool:
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def _rank() -> int:
    from torch import distributed

    return distributed.get_rank() if _grouped() else 0


def _parallel(module: Any) -> Any:
    """Wrap a module for distributed data parallel where there is a process group."""
    if not _grouped():
        return module
    from torch.nn.parallel import DistributedDataParallel

    device = next(module.parameters()).device
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def _everywhere(here: bool, device: Any) -> bool:
    """Say whether something holds in every process, so that all of them stop together."""
    if not _grouped():
        return here
    import torch
    from torch import distributed

    flag = torch.tensor(int(here), device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MIN)
    return bool(flag)


def recalibrate(module: Any, loader: Any) -> None:
    """Gather the statistics of batch normalisation anew, in place: of frozen masks, not of sampled ones.

    Running means and variances become plain averages over the batches; no weight changes.

    Args:
        module: the network, its masks frozen or exported. Left untouched if it has no such layer.
        loader: batches (inputs, targets), as for `train`.

    Raises:
        CompileError: `spike-nm/loader`.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    parts = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    if not parts:
        return
    batches_of(loader, "spike-nm/loader")
    device = next(module.parameters()).device
    with put_back_on_failure(module), modes_and_seeds(module), _averaging(parts), torch.no_grad():
        module.eval()
        for part in parts:
            part.reset_running_stats()
            part.train()
        for batch in loader:
            inputs, _ = _pair(batch)
            module(inputs.to(device) if isinstance(inputs, torch.Tensor) else inputs)


@contextmanager
def _averaging(parts: list[Any]) -> Iterator[None]:
    before: Mapping[int, Any] = {id(part): part.momentum for part in parts}
    for part in parts:
        part.momentum = None
    try:
        yield
    finally:
        for part in parts:
            part.momentum = before[id(part)]
