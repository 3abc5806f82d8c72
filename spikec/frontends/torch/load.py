"""Loads a torch module from the user's Python file, and its weights from a state dict, without running pickles."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from spikec.compiler.diagnostics import CompileError, Diagnostic, fail

OPTIONAL = ("threshold", "graded_spikes_factor", "reset_mechanism_val")
"""What newer versions of snnTorch keep in a state dict and older ones do not: the module's own values then hold."""
STATES = ("mem", "syn", "spk")
"""Hidden states, which some versions save; spikec starts from the initial state."""


def load_object(spec: str, weights: Path | None = None, *, unsafe: bool = False) -> Any:
    """Build a module from `FILE.py:OBJECT` and load its weights.

    The file is run: it is the user's own code, named by the user. OBJECT is a module, or a class or function without
    required arguments that gives one.

    Args:
        spec: the file and the object.
        weights: a state dict as `torch.save` writes it, or a checkpoint that holds one under `state_dict`.
        unsafe: read the weights with pickle, which can run any code that is in the file.

    Raises:
        CompileError: `torch/load-...`: no such file or object, code that raises, weights that cannot be read or do
            not fit.
    """
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise fail("torch/load-object", f"'{spec}' is not of the form FILE.py:OBJECT", spec)
    path = Path(file)
    if not path.is_file():
        raise fail("torch/load-object", f"there is no file {file}", spec)
    module = _build(_imported(path, spec), name, spec)
    if weights is not None:
        load_weights(module, weights, unsafe=unsafe)
    return module


def _imported(path: Path, spec: str) -> Any:
    """Run the file as a module; files beside it can be imported by it, as when Python runs it."""
    described = importlib.util.spec_from_file_location(f"spikec_user_{path.stem}", path)
    if described is None or described.loader is None:
        raise fail("torch/load-object", f"{path} is not a Python file", spec)
    made = importlib.util.module_from_spec(described)
    folder = str(path.resolve().parent)
    sys.modules[described.name] = made
    sys.path.insert(0, folder)
    try:
        described.loader.exec_module(made)
    except Exception as error:
        del sys.modules[described.name]
        raise fail("torch/load-object", f"the file raised {type(error).__name__}: {error}", spec) from error
    finally:
        sys.path.remove(folder)
    return made


def _build(namespace: Any, name: str, spec: str) -> Any:
    import torch

    if not hasattr(namespace, name):
        help = f"it has: {', '.join(_offers(namespace, torch)) or 'no module, class or function'}"
        raise fail("torch/load-object", f"the file has no '{name}'", spec, help)
    thing = getattr(namespace, name)
    if not isinstance(thing, torch.nn.Module) and callable(thing):
        try:
            thing = thing()
        except Exception as error:
            help = "give a function without arguments that builds the network"
            raise fail("torch/load-object", f"'{name}()' raised {type(error).__name__}: {error}", spec, help) from error
    if not isinstance(thing, torch.nn.Module):
        raise fail("torch/load-object", f"'{name}' is a {type(thing).__name__}, not a torch module", spec)
    return thing


def _offers(namespace: Any, torch: Any) -> list[str]:
    """Name what in a file could be meant: modules, and classes and functions that are defined there."""
    return sorted(
        key
        for key, value in vars(namespace).items()
        if not key.startswith("_")
        and (
            isinstance(value, torch.nn.Module)
            or ((inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == namespace.__name__)
        )
    )


def load_weights(module: Any, weights: Path, *, unsafe: bool = False) -> None:
    """Load a state dict into a module.

    Raises:
        CompileError: the file cannot be read safely; keys are missing or unexpected; shapes or resets differ.
    """
    state = _without_prefix(_state_of(_read(weights, unsafe), weights), set(module.state_dict()))
    own = module.state_dict()
    state = {key: value for key, value in state.items() if key in own or key.rpartition(".")[2] not in STATES}
    found = _faults(own, state, weights)
    if found:
        raise CompileError(found)
    module.load_state_dict({**own, **state})


def _read(weights: Path, unsafe: bool) -> Any:
    import pickle

    import torch

    if not Path(weights).is_file():
        raise fail("torch/load-weights", f"there is no file {weights}", str(weights))
    try:
        return torch.load(weights, map_location="cpu", weights_only=not unsafe)
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
    first = (str(error).splitlines() or [type(error).__name__])[0]
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
    """Give everything that does not fit."""
    found: list[Diagnostic] = []
    where = str(weights)
    missing = [key for key in own if key not in state and key.rpartition(".")[2] not in OPTIONAL]
    unexpected = [key for key in state if key not in own]
    if missing:
        message = f"the weights lack {', '.join(missing)}"
        found.append(Diagnostic("torch/missing-weights", message, where, "build the network that they were saved from"))
    if unexpected:
        message = f"the network has no place for {', '.join(unexpected)}"
        found.append(
            Diagnostic("torch/unexpected-weights", message, where, "build the network that they were saved from")
        )
    for key in own.keys() & state.keys():
        if own[key].shape != state[key].shape:
            message = f"'{key}' has shape {list(state[key].shape)}, the network's has {list(own[key].shape)}"
            found.append(
                Diagnostic("torch/weight-shape", message, where, "build the network that they were saved from")
            )
        elif key.endswith("reset_mechanism_val") and int(own[key]) != int(state[key]):
            names = ("subtract", "zero", "none")
            message = (
                f"'{key}' says reset '{names[int(state[key])]}', the network is built with '{names[int(own[key])]}'"
            )
            help = f"build it with reset_mechanism='{names[int(state[key])]}'; snnTorch ignores the loaded value"
            found.append(Diagnostic("torch/reset-differs", message, where, help))
    return sorted(found, key=lambda d: (d.code, d.message))
