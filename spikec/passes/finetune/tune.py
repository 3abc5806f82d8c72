"""The fine-tuning loop: SGD with momentum on a OneCycle schedule, masks held, normalisation statistics frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from spikec.compiler.context import Progress, Quiet
from spikec.compiler.diagnostics import Sink, fail, ignore, remark, warning
from spikec.passes.finetune import checkpoint as checkpoints
from spikec.passes.finetune.carry import Masked
from spikec.passes.finetune.guards import batches_of, modes_and_seeds, put_back_on_failure
from spikec.passes.finetune.masks import hold, install, places

GRADIENT = "train with a surrogate gradient (spike_grad), and return what it flows through"


@dataclass(frozen=True)
class FineTuning:
    """Settings, by default those that SBC was published with (methods.md 1.9): SGD, momentum .9, OneCycle, 5 epochs.

    `lr` is the peak of the schedule, reached after the share `warm_up` of all steps. `freeze_statistics` keeps the
    running mean and variance of batch normalisation; its gain and shift are trained. `seed` is of torch's generator,
    which is put back as it was at the end.
    """

    epochs: int = 5
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    warm_up: float = 0.15
    freeze_statistics: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if self.epochs < 1:
            raise ValueError("epochs must be 1 or more")
        if not (isfinite(self.lr) and self.lr > 0):
            raise ValueError("lr must be above 0")
        if not 0 <= self.momentum < 1:
            raise ValueError("momentum must lie in [0, 1)")
        if not (isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError("weight_decay must be 0 or more")
        if not 0 < self.warm_up < 1:
            raise ValueError("warm_up must lie between 0 and 1")


@dataclass(frozen=True)
class Tuned:
    """What a fine-tuning did: the mean loss over the batches of each epoch."""

    losses: tuple[float, ...]


def fine_tune(
    module: Any,
    layers: Mapping[str, Masked],
    loader: Any,
    loss: Callable[[Any, Any], Any],
    settings: FineTuning | None = None,
    *,
    optimizer: Callable[[Any], Any] | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
    report: Sink = ignore,
) -> Tuned:
    """Put pruned weights into a module and train it on, in place, every masked weight staying exactly 0.

    Args:
        module: the network that the pruned graph was traced from, on its device. Its forward starts every batch from
            the initial state.
        layers: weights and masks by path, as `carry(trained, pruned)` gives them.
        loader: batches (inputs, targets), with a length: a DataLoader, or a list. Inputs as forward takes them.
        loss: gives a scalar of (what forward returns, targets).
        settings: see FineTuning.
        optimizer: makes another optimizer of the parameters (then momentum and weight_decay are its own business).
        checkpoint: a file that is written after every epoch. If it is there, training goes on from it.
        progress: shows how far it has come.
        report: told about remarks and warnings.

    Returns:
        The losses. On any error, and on Ctrl-C, the module is as it was before; the checkpoint stays.

    Raises:
        CompileError: `finetune/...`: the module has no such layer, the loss is no number, no gradient, no batches, a
            checkpoint of something else.
    """
    settings = settings or FineTuning()
    places(module, layers)
    steps = batches_of(loader, "finetune/loader")
    run = _Run(module, loader, loss, settings, steps, progress or Quiet(), report)
    made = repr((settings, steps, optimizer is not None))
    key = checkpoints.identity(module, layers, made) if checkpoint is not None else ""
    path = Path(checkpoint) if checkpoint is not None else None
    with put_back_on_failure(module), modes_and_seeds(module):
        install(module, layers)
        with hold(module, layers):
            return run.through(optimizer or _sgd(settings), list(layers), path, key)


def _sgd(settings: FineTuning) -> Callable[[Any], Any]:
    import torch

    return lambda parameters: torch.optim.SGD(
        parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """One fine-tuning under way."""

    module: Any
    loader: Any
    loss: Callable[[Any, Any], Any]
    settings: FineTuning
    steps: int
    progress: Progress
    report: Sink

    def through(self, optimizer: Callable[[Any], Any], paths: list[str], path: Path | None, key: str) -> Tuned:
        """Train all epochs, from the checkpoint where there is one."""
        import torch

        made = optimizer([p for p in self.module.parameters() if p.requires_grad])
        total = self.settings.epochs * self.steps
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            made, self.settings.lr, total_steps=total, pct_start=self.settings.warm_up, cycle_momentum=False
        )
        parts = {"module": self.module, "optimizer": made, "schedule": schedule}
        losses = self._resumed(parts, path, key)
        with self.progress.work("fine-tuning", total - len(losses) * self.steps) as advance:
            for epoch in range(len(losses), self.settings.epochs):
                # Anew in every epoch, so that a resumed run draws what an undisturbed one does.
                torch.manual_seed(self.settings.seed + epoch)
                watched = paths if epoch == 0 else []
                losses.append(self._epoch(epoch, made, schedule, advance, watched))
                if path is not None:
                    checkpoints.keep(path, key, parts, losses)
        made.zero_grad(set_to_none=True)
        return Tuned(tuple(losses))

    def _resumed(self, parts: Mapping[str, Any], path: Path | None, key: str) -> list[float]:
        losses = checkpoints.resume(path, key, parts) if path is not None else []
        if losses:
            message = f"fine-tuning goes on after epoch {len(losses)} of {self.settings.epochs}"
            self.report(remark("finetune/resumed", message, str(path)))
        return losses

    def _epoch(
        self, epoch: int, optimizer: Any, schedule: Any, advance: Callable[[float], None], watched: list[str]
    ) -> float:
        import torch

        self._train_mode()
        device = next(self.module.parameters()).device
        total, number = 0.0, 0
        for number, batch in enumerate(self.loader, 1):
            if number > self.steps:
                raise fail("finetune/loader", f"the loader gives more than the {self.steps} batches that it tells of")
            inputs, targets = (part.to(device) if isinstance(part, torch.Tensor) else part for part in _pair(batch))
            optimizer.zero_grad(set_to_none=True)
            value = self._loss(self.module(inputs), targets, f"batch {number} of epoch {epoch + 1}")
            value.backward()
            if watched:
                self._watch(watched)
                watched = []
            optimizer.step()
            schedule.step()
            total += float(value.detach())
            advance(1)
        if number < self.steps:
            help = "an iterator is used up after one epoch; give the DataLoader itself"
            raise fail("finetune/loader", f"the loader gave {number} batches where it tells of {self.steps}", help=help)
        return total / number

    def _train_mode(self) -> None:
        from torch.nn.modules.batchnorm import _BatchNorm

        self.module.train()
        if self.settings.freeze_statistics:
            for part in self.module.modules():
                if isinstance(part, _BatchNorm):
                    part.eval()

    def _loss(self, made: Any, targets: Any, where: str) -> Any:
        import torch

        value = self.loss(made, targets)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            kind = f"shape {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise fail("finetune/loss", f"the loss is no single number: {kind}", where, "take its mean")
        if not bool(torch.isfinite(value)):
            help = "a lower lr, or look for a NaN in the data; the module is as it was before"
            raise fail("finetune/nan", f"the loss is {float(value.detach())}", where, help)
        if not value.requires_grad:
            raise fail("finetune/no-gradient", "the loss does not depend on any weight", where, GRADIENT)
        return value.reshape(())

    def _watch(self, paths: list[str]) -> None:
        """Warn of pruned layers that no gradient reaches, after the first batch."""
        parts = dict(self.module.named_modules())
        for path in paths:
            if parts[path].weight.grad is None:
                why = "no gradient reaches this layer" if parts[path].weight.requires_grad else "its weight is frozen"
                self.report(warning("finetune/not-trained", f"{why}: it stays as it was pruned", path, GRADIENT))


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise fail("finetune/loader", "a batch is a pair (inputs, targets)", help="wrap the loader if yours has more")
    return batch[0], batch[1]
