"""Puts masks on the layers of a user's network, and takes them off again: attach, schedule, freeze, export."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spikec.compiler.diagnostics import Diagnostic, Findings, Sink, fail, ignore, remark
from spikec.passes.spike_nm.train.settings import Learning, Pattern, Schedule

KIND = "only plain torch.nn Linear, Conv1d and Conv2d layers are masked"


@dataclass(eq=False)
class Masks:
    """The masks of a network: what `attach` gives. `layers` holds them by the path of their layer."""

    module: Any
    pattern: Pattern
    learning: Learning
    layers: Mapping[str, Any]
    handles: list[Any] = field(default_factory=list, repr=False)

    def parameter_groups(self, lr: float, logit_lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Give groups for an optimizer: the network's own parameters, and logits with their rate and no decay."""
        logits = self.logits()
        own = {id(parameter) for parameter in logits}
        rest = [p for p in self.module.parameters() if p.requires_grad and id(p) not in own]
        groups = [{"params": rest, "lr": lr, "weight_decay": weight_decay}]
        return groups + [{"params": logits, "lr": logit_lr, "weight_decay": 0.0}] * bool(logits)

    def logits(self) -> list[Any]:
        """Give the logits that are learned."""
        return [mask.logits for mask in self.layers.values() if self.learning.method == "basis"]

    def schedule(self, schedule: Schedule, progress: float) -> None:
        """Set temperature, scale and the number of weights kept for a step at a progress from 0 to 1."""
        kappa, temperature = schedule.at(progress)
        for mask in self.layers.values():
            mask.kappa, mask.temperature = kappa, temperature
            mask.kept = schedule.kept(progress, self.pattern.n, self.pattern.m)

    def distillation_loss(self) -> Any:
        """Give the term of EID for this step; the number 0.0 where there is none. Add it to the loss."""
        from spikec.passes.spike_nm.train.credit import loss_of

        return loss_of(self.layers.values(), self.learning.distillation)

    def weights(self) -> Iterator[tuple[str, Any, Any]]:
        """Give path, mask and the weight under it."""
        for path, mask in self.layers.items():
            layer = self.module.get_submodule(path)
            if not hasattr(layer, "parametrizations"):
                raise fail("spike-nm/exported", "the masks were taken off already", path, "attach new ones")
            yield path, mask, layer.parametrizations.weight.original

    def check(self) -> None:
        """Refuse logits and weights that are no numbers.

        Raises:
            CompileError: `spike-nm/nan`, for every such layer.
        """
        import torch

        found = Findings()
        for path, mask, weight in self.weights():
            held = {"weights": weight, **({"logits": mask.logits} if hasattr(mask, "logits") else {})}
            for name, tensor in held.items():
                if not bool(torch.isfinite(tensor).all()):
                    help = "training diverged: take a lower learning rate, and start from the last checkpoint"
                    found(Diagnostic("spike-nm/nan", f"the {name} of this layer are not finite", path, help))
        found.raise_errors()

    def freeze(self) -> None:
        """Fix every mask to what evaluation takes: the N largest, of equals the first.

        Raises:
            CompileError: `spike-nm/nan`; nothing is changed.
        """
        self.check()
        for _, mask, weight in self.weights():
            mask.freeze(weight)

    def export(self) -> Any:
        """Freeze, take the masks off, and give the module: masked weights, in layers that tell that they are N:M.

        The layers are then NMLinear, NMConv1d, NMConv2d, with parameters of the same names as before; a state dict
        is that of the network without masks.

        Raises:
            CompileError: `spike-nm/nan`, or the masks were taken off already; nothing is changed.
        """
        from torch.nn.utils import parametrize

        self.freeze()
        for path in self.layers:
            parametrize.remove_parametrizations(self.module.get_submodule(path), "weight", leave_parametrized=True)
        for handle in self.handles:
            handle.remove()
        mark(self.module, self.pattern, self.layers)
        return self.module


def attach(
    module: Any,
    pattern: Pattern,
    learning: Learning | None = None,
    *,
    layers: Collection[str] | None = None,
    skip_first: bool = True,
    skip_last: bool = True,
    pad: bool = True,
    report: Sink = ignore,
) -> Masks:
    """Put a mask on the weight of every Linear, Conv1d and Conv2d of a network, in place.

    The network's code stays as it is: the weights become parametrized (torch.nn.utils.parametrize). In training mode
    it computes with sampled masks, in evaluation with what would be exported.

    Args:
        module: the network; on its device, in its type.
        pattern: N, M, and the axis of the blocks.
        learning: how masks are found.
        layers: paths of the layers; else all that are plain torch.nn layers.
        skip_first: without `layers`: leave the first one out.
        skip_last: without `layers`: leave the last one out.
        pad: whether a last block may be shorter than M.
        report: is told which layers are left out, and why.

    Raises:
        CompileError: `spike-nm/...`: no layers, a name without a layer, a layer that cannot be masked, fewer inputs
            (or outputs) than M, M that does not divide where `pad` is False; all of them, and nothing is changed.
    """
    import torch
    from torch.nn.utils import parametrize

    from spikec.passes.spike_nm.train.mask import Mask

    learning = learning or Learning()
    paths = _paths(module, layers, skip_first, skip_last, report)
    parts = _checked(module, paths, pattern, pad)
    generator = torch.Generator().manual_seed(learning.seed)
    masks = {path: Mask(part.weight, pattern, learning, generator) for path, part in parts.items()}
    _exportable(masks, parts, pattern)
    for path, part in parts.items():
        masks[path].train(part.training)
        parametrize.register_parametrization(part, "weight", masks[path])
    made = Masks(module, pattern, learning, masks)
    if learning.distillation is not None:
        from spikec.passes.spike_nm.train.credit import watch

        made.handles = [handle for path, mask in masks.items() for handle in watch(parts[path], mask)]
    return made


def mark(module: Any, pattern: Pattern, layers: Collection[str]) -> None:
    """Let layers, plain ones whose weights are N:M already, tell the torch frontend so, in place.

    For a network that was built anew and loaded from an exported state dict.

    Raises:
        CompileError: `spike-nm/...`: no such layer, or a weight without that structure; nothing is changed.
    """
    from spikec.passes.spike_nm.train.layers import KINDS

    found = Findings()
    parts = _checked(module, list(layers), pattern, pad=True)
    for path, part in parts.items():
        try:
            _structured(part.weight, pattern)
        except ValueError as error:
            found(Diagnostic("spike-nm/structure", str(error), path, "load the weights that were exported"))
    found.raise_errors()
    for part in parts.values():
        part.__class__ = KINDS[type(part)]
        part.nm = (pattern.n, pattern.m, pattern.axis)


def _exportable(masks: Mapping[str, Any], parts: Mapping[str, Any], pattern: Pattern) -> None:
    """Refuse, before anything is trained, layers whose masks the encoding NM would not take."""
    found = Findings()
    for path, mask in masks.items():
        try:
            _structured(mask.best(parts[path].weight), pattern)
        except ValueError as error:
            message = f"the encoding of N:M weights does not take these blocks: {error}"
            found(Diagnostic("spike-nm/blocks", message, path, "take the other axis, or leave this layer out"))
    found.raise_errors()


def _structured(weight: Any, pattern: Pattern) -> None:
    from spikec.compiler.weights import Dense
    from spikec.compiler.weights_nm import NM

    NM(Dense(weight.detach().cpu().numpy()), pattern.n, pattern.m, pattern.axis)


def _paths(module: Any, layers: Collection[str] | None, first: bool, last: bool, report: Sink) -> list[str]:
    from torch.nn.utils import parametrize

    from spikec.passes.spike_nm.train.layers import KINDS

    def meant(part: Any) -> bool:  # a parametrized one is refused by name
        return type(part) in KINDS or (parametrize.is_parametrized(part, "weight") and isinstance(part, tuple(KINDS)))

    if layers is not None:
        return list(layers)
    paths = [path for path, part in module.named_modules() if meant(part)]
    skipped = paths[: 1 if first else 0] + paths[len(paths) - 1 if last else len(paths) :]
    for path in dict.fromkeys(skipped):
        which = "first" if path == paths[0] else "last"
        report(remark("spike-nm/skipped", f"the {which} layer is left dense", path, f"skip_{which}=False masks it"))
    return [path for path in paths if path not in skipped]


def _checked(module: Any, paths: list[str], pattern: Pattern, pad: bool) -> dict[str, Any]:
    found = Findings()
    if not paths:
        help = f"{KIND}; name them (layers=), or do not skip the first and the last"
        raise fail("spike-nm/no-layers", "there is no layer to mask", type(module).__name__, help)
    parts = dict(module.named_modules())
    owners: dict[int, str] = {}
    for path in paths:
        fault = _fault(parts.get(path), pattern, pad)
        if fault is not None:
            found(Diagnostic(f"spike-nm/{fault[0]}", fault[1], path, fault[2]))
        elif (other := owners.setdefault(id(parts[path].weight), path)) != path:
            found(Diagnostic("spike-nm/shared", f"its weight is that of '{other}'", path, "mask neither of them"))
    found.raise_errors()
    return {path: parts[path] for path in paths}


def _fault(part: Any, pattern: Pattern, pad: bool) -> tuple[str, str, str] | None:
    """Give (code, message, help) for a layer that cannot be masked."""
    from torch.nn.utils import parametrize

    from spikec.passes.spike_nm.train.layers import KINDS

    if part is None:
        return "no-layer", "the network has no layer of this name", "take the names of named_modules()"
    if parametrize.is_parametrized(part):
        return "parametrized", "the weight of this layer is parametrized already", "remove that one first"
    if type(part) not in KINDS:
        return "no-layer", f"{type(part).__name__} cannot be masked", KIND
    length = part.weight.shape[1 if pattern.axis == "in" else 0]
    what = "inputs" if pattern.axis == "in" else "outputs"
    if length < pattern.m:
        return (
            "short",
            f"it has {length} {what}, fewer than M = {pattern.m}",
            "leave it out, or choose M smaller",
        )
    if length % pattern.m and not pad:
        return "padding", f"its {length} {what} are no multiple of {pattern.m}", "allow padding (pad=True)"
    return None
