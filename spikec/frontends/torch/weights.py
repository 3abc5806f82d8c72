"""Loads a state dict into a torch module, without running pickles, and names everything that does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spikec.compiler.diagnostics import CompileError, Diagnostic, fail
from spikec.frontends.torch.registry import owner_of

OPTIONAL = ("threshold", "graded_spikes_factor", "reset_mechanism_val")
"""What newer versions of snnTorch keep in a state dict and older ones do not: the module's own values then hold."""
RESETS = ("subtract", "zero", "none")
"""What snnTorch's `reset_mechanism_val` counts through."""
SAME_NETWORK = "build the network that they were saved from"
NAMED = 4
"""Of many weights with one fault, so many are named."""


def load_weights(module: Any, weights: Path, *, unsafe: bool = False) -> None:
    """Load a state dict into a module.

    Raises:
        CompileError: the file cannot be read safely; keys are missing or unexpected; shapes, kinds of numbers or resets
            differ.
    """
    state = _without_prefix(_state_of(_read(weights, unsafe), weights), set(module.state_dict()))
    own, hidden = module.state_dict(), _hidden_states(module)
    state = {key: value for key, value in state.items() if key not in hidden}
    found = _faults({key: value for key, value in own.items() if key not in hidden}, state, weights)
    if found:
        raise CompileError(found)
    try:
        module.load_state_dict({**own, **state})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise fail("torch/load-weights", f"torch cannot load them: {reason}", str(weights), SAME_NETWORK) from error


def _hidden_states(module: Any) -> set[str]:
    """Give the keys of hidden states, which some versions save; spikec starts from the initial state."""
    parts = ((path, owner_of(part)) for path, part in module.named_modules())
    return {f"{path}.{name}".lstrip(".") for path, owner in parts if owner is not None for name in owner.transient}


def _read(weights: Path, unsafe: bool) -> Any:
    import pickle

    import torch

    if Path(weights).is_dir():
        message, help = f"{weights} is a folder", "name the file of weights in it (what torch.save wrote)"
        raise fail("torch/load-weights", message, str(weights), help)
    if not Path(weights).is_file():
        help = "name the state dict that torch.save(module.state_dict(), FILE) wrote"
        raise fail("torch/load-weights", f"there is no file {weights}", str(weights), help)
    try:
        return torch.load(weights, map_location="cpu", weights_only=not unsafe)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise fail("torch/load-weights", message, str(weights), "check who may read it") from error
    except pickle.UnpicklingError as error:
        if not _is_pickle(weights):
            raise _unreadable(weights, error) from error
        raise fail(
            "torch/unsafe-weights",
            "the file holds more than tensors: reading it would run code that is stored in it",
            str(weights),
            "save a plain state dict, or, if you trust whoever made the file, give --unsafe-weights, "
            "which lets it run any code as you",
        ) from error
    except Exception as error:
        raise _unreadable(weights, error) from error


def _is_pickle(weights: Path) -> bool:
    """Say whether a file starts as torch's do: a zip archive, or a pickle of protocol 2 or later."""
    with Path(weights).open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _unreadable(weights: Path, error: Exception) -> CompileError:
    first = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
    if not Path(weights).stat().st_size:
        first = "it is empty"
    return fail("torch/load-weights", f"the file cannot be read as weights: {first}", str(weights), "is it complete?")


def _state_of(content: Any, weights: Path) -> dict[str, Any]:
    """Find the state dict in a checkpoint."""
    import torch

    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise fail("torch/load-weights", "the file holds no state dict", str(weights), "save module.state_dict()")
    return {str(key): value for key, value in content.items()}


def _without_prefix(state: dict[str, Any], own: set[str]) -> dict[str, Any]:
    """Take off a common first name (`model.`, `module.`) that the module's own keys do not have."""
    while state and not own & set(state):
        first = {key.partition(".")[0] for key in state}
        if len(first) != 1 or not all("." in key for key in state):
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    return state


def _faults(own: dict[str, Any], state: dict[str, Any], weights: Path) -> list[Diagnostic]:
    """Give everything that does not fit; one diagnostic for all weights with the same fault of kind."""
    found: list[Diagnostic] = []
    where = str(weights)
    missing = [key for key in own if key not in state and key.rpartition(".")[2] not in OPTIONAL]
    unexpected = [key for key in state if key not in own]
    if missing:
        message = f"the weights lack {', '.join(missing)}"
        found.append(Diagnostic("torch/missing-weights", message, where, SAME_NETWORK))
    if unexpected:
        message = f"the network has no place for {', '.join(unexpected)}"
        found.append(Diagnostic("torch/unexpected-weights", message, where, SAME_NETWORK))
    kinds: dict[tuple[str, str], list[str]] = {}
    resets: list[Diagnostic] = []
    for key in own.keys() & state.keys():
        if (kind := _wrong_kind(own[key], state[key])) is not None:
            kinds.setdefault(kind, []).append(key)
        elif own[key].shape != state[key].shape:
            message = f"'{key}' has shape {list(state[key].shape)}, the network's has {list(own[key].shape)}"
            found.append(Diagnostic("torch/weight-shape", message, where, SAME_NETWORK))
        elif key.endswith("reset_mechanism_val"):
            resets.extend(_reset(key, int(own[key]), state[key], where))
    for (kind_of, help), keys in kinds.items():
        message = f"{_some(sorted(keys))}: {kind_of}"
        found.append(Diagnostic("torch/weight-dtype", message, where, help))
    if not kinds:  # what is no number of its kind says nothing of resets either
        found.extend(resets)
    return sorted(found, key=lambda d: (d.code, d.message))


def _some(keys: list[str]) -> str:
    """Name the first few."""
    named = ", ".join(f"'{key}'" for key in keys[:NAMED])
    return named if len(keys) <= NAMED else f"{named} and {len(keys) - NAMED} more"


def _wrong_kind(own: Any, given: Any) -> tuple[str, str] | None:
    """Give (what a weight is, help) where it is no plain tensor of real numbers, as the network's own is."""
    import torch

    dtype = str(given.dtype).removeprefix("torch.")
    if given.is_meta:
        return "no values (on the device 'meta')", "save the state dict of a network that has its weights"
    if given.is_quantized:
        return f"quantized by torch ({dtype})", "save the float weights: weight.dequantize()"
    if given.layout != torch.strided:
        layout = str(given.layout).removeprefix("torch.")
        help = "save them dense: {key: value.to_dense() for key, value in state.items()}"
        return f"a tensor of the layout {layout}, not a dense one", help
    if given.is_complex():
        return f"complex ({dtype}), and weights are real", "save real weights: the imaginary part would be lost"
    if own.is_floating_point() and not given.is_floating_point() and given.dim():
        kind = str(own.dtype).removeprefix("torch.")
        return (
            f"whole numbers ({dtype}), and the network's are {kind}",
            "save the float weights: spikec quantizes by itself (a pass 'quantize'), and keeps the scale",
        )
    return None


def _reset(key: str, own: int, given: Any, where: str) -> list[Diagnostic]:
    """Compare the way of reset that was saved with the one that the network is built with."""
    value = float(given)
    if value not in range(len(RESETS)):
        ways = ", ".join(f"{i} ({name})" for i, name in enumerate(RESETS))
        message = f"'{key}' is {value:g}, which is no way of reset: {ways}"
        return [Diagnostic("torch/weight-value", message, where, "save the state dict as the network gives it")]
    if int(value) == own:
        return []
    saved = RESETS[int(value)]
    message = f"'{key}' says reset '{saved}', the network is built with '{RESETS[own]}'"
    help = f"build it with reset_mechanism='{saved}'; snnTorch ignores the loaded value"
    return [Diagnostic("torch/reset-differs", message, where, help)]
