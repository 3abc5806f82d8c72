"""Masks in a torch module: pruned weights put in, and held at zero through every step of any optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from spikec.compiler.diagnostics import Diagnostic, Findings
from spikec.passes.finetune.carry import SAME, Masked


def install(module: Any, layers: Mapping[str, Masked]) -> None:
    """Put pruned weights into a module, in place.

    Raises:
        CompileError: the module has no such layer, or one of another shape; all of them, and nothing is changed.
    """
    import torch

    found = places(module, layers)
    with torch.no_grad():
        for path, parameter in found.items():
            parameter.copy_(torch.tensor(layers[path].weight))


@contextmanager
def hold(module: Any, layers: Mapping[str, Masked]) -> Iterator[None]:
    """Keep masked weights at exactly 0 in the block, whatever optimizer makes steps in it.

    Their gradients are set to 0 (also where they are NaN), so that no momentum or second moment builds up, and after
    each step of an optimizer the weights themselves: momentum of before the block, and noise, move nothing either.

    Raises:
        CompileError: as `install`.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    found = places(module, layers)
    masked = [
        (parameter, ~torch.tensor(layers[path].keep, device=parameter.device)) for path, parameter in found.items()
    ]

    def clear(*_: Any) -> None:
        with torch.no_grad():
            for parameter, gone in masked:
                parameter.masked_fill_(gone.to(parameter.device), 0)

    def hook(gone: Any) -> Any:
        return lambda gradient: gradient.masked_fill(gone.to(gradient.device), 0)

    hooks = [parameter.register_hook(hook(gone)) for parameter, gone in masked if parameter.requires_grad]
    hooks.append(register_optimizer_step_post_hook(clear))
    clear()
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def places(module: Any, layers: Mapping[str, Masked]) -> dict[str, Any]:
    """Find the weight parameter of every layer.

    Raises:
        CompileError: `finetune/no-layer`, `finetune/shape`, `finetune/shared`: all that is found.
    """
    findings = Findings()
    found: dict[str, Any] = {}
    owner: dict[int, str] = {}
    parts = dict(module.named_modules())
    for path, layer in layers.items():
        parameter = _parameter(parts, path, layer, findings)
        if parameter is None:
            continue
        first = owner.setdefault(id(parameter), path)
        if first != path and (layers[first].weight != layer.weight).any():
            message = f"its weights are those of '{first}', which has another mask"
            findings(Diagnostic("finetune/shared", message, path, "leave them out of pruning"))
        found[path] = parameter
    findings.raise_errors()
    return found


def _parameter(parts: Mapping[str, Any], path: str, layer: Masked, findings: Findings) -> Any:
    import torch

    if path not in parts:
        findings(Diagnostic("finetune/no-layer", "the module has no layer of this name", path, SAME))
        return None
    kind, parameter = type(parts[path]).__name__, getattr(parts[path], "weight", None)
    if parameter is None:
        findings(Diagnostic("finetune/no-layer", f"{kind} has no weight", path, SAME))
        return None
    if not isinstance(parameter, torch.nn.Parameter):
        message = f"the weight of {kind} is no parameter that can be set"
        help = "remove weight_norm and other parametrizations before fine-tuning"
        findings(Diagnostic("finetune/no-layer", message, path, help))
        return None
    if tuple(parameter.shape) != layer.weight.shape:
        message = f"the mask has shape {list(layer.weight.shape)}, the weight of {kind} {list(parameter.shape)}"
        findings(Diagnostic("finetune/shape", message, path, SAME))
        return None
    return parameter
