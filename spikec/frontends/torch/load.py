"""Loads a torch module from the user's Python file: FILE.py:OBJECT, a module or what builds one."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from spikec.compiler.diagnostics import CompileError, Sink, fail, ignore, warning
from spikec.frontends.torch.place import line_of_error
from spikec.frontends.torch.weights import load_weights

__all__ = ["load_object", "load_weights"]

FORM = "name the file and, after a colon, what in it is or builds the network: net.py:Net"


def load_object(spec: str, weights: Path | None = None, *, unsafe: bool = False, remark: Sink = ignore) -> Any:
    """Build a module from `FILE.py:OBJECT` and load its weights.

    The file is run: it is the user's own code, named by the user. OBJECT is a module, or a class or function without
    required arguments that gives one.

    Args:
        spec: the file and the object.
        weights: a state dict as `torch.save` writes it, or a checkpoint that holds one under `state_dict`.
        unsafe: read the weights with pickle, which can run any code that is in the file.
        remark: is warned where the network is built and no weights are given.

    Raises:
        CompileError: `torch/load-...`: no such file or object, code that raises, weights that cannot be read or do
            not fit.
    """
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise fail("torch/load-object", f"'{spec}' is not of the form FILE.py:OBJECT", spec, FORM)
    path = Path(file)
    if path.is_dir():
        raise fail("torch/load-object", f"{file} is a folder", spec, FORM)
    if not path.is_file():
        raise fail("torch/load-object", f"there is no file {file}", spec, FORM)
    module, built = _build(_imported(path, spec), name, spec)
    if weights is not None:
        load_weights(module, weights, unsafe=unsafe)
    elif built and any(True for _ in module.named_parameters()):
        message = f"no weights are given: the network has those that '{name}()' starts from, which may be random"
        help = "give --weights FILE (in Python: weights=FILE), unless the code loads trained weights itself"
        remark(warning("torch/no-weights", message, spec, help))
    return module


def _imported(path: Path, spec: str) -> Any:
    """Run the file as a module; files beside it can be imported by it, as when Python runs it."""
    described = importlib.util.spec_from_file_location(f"spikec_user_{path.stem}", path)
    if described is None or described.loader is None:
        raise fail("torch/load-object", f"{path} is not a Python file", spec, FORM)
    made = importlib.util.module_from_spec(described)
    folder = str(path.resolve().parent)
    sys.modules[described.name] = made
    sys.path.insert(0, folder)
    try:
        described.loader.exec_module(made)
    except (Exception, SystemExit) as error:
        del sys.modules[described.name]
        raise _raised("the file", error, spec, path) from error
    finally:
        if folder in sys.path:  # the file may have changed it
            sys.path.remove(folder)
    return made


def _raised(what: str, error: BaseException, spec: str, path: Path, help: str = "") -> CompileError:
    """Say what the user's own code raised, and in which line."""
    line = line_of_error(error)
    where = f"{spec} ({line})" if line else spec
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        help = (
            help
            or "spikec runs the file to find the network in it: put what a script does under if __name__ == '__main__':"
        )
        return fail("torch/load-object", f"{what} called sys.exit({code})", where, help)
    if isinstance(error, ImportError):
        help = f"install it where spikec is installed, or put it beside {path.name}"
    elif not help:
        help = f"see that `python {path.name}` runs"
    return fail("torch/load-object", f"{what} raised {type(error).__name__}: {error}", where, help)


def _build(namespace: Any, name: str, spec: str) -> tuple[Any, bool]:
    """Give the module, and whether it was built for this."""
    import torch

    has = f"the file has: {', '.join(_offers(namespace, torch)) or 'no module, class or function'}"
    if not hasattr(namespace, name):
        raise fail("torch/load-object", f"the file has no '{name}'", spec, has)
    thing = getattr(namespace, name)
    built = not isinstance(thing, torch.nn.Module) and callable(thing)
    if built:
        try:
            thing = thing()
        except (Exception, SystemExit) as error:
            help = "give a function without arguments that builds the network"
            raise _raised(f"'{name}()'", error, spec, Path(namespace.__file__), help) from error
    if not isinstance(thing, torch.nn.Module):
        given = f"'{name}()' gives" if built else f"'{name}' is"
        raise fail("torch/load-object", f"{given} {_a(thing)}, not a torch module", spec, has)
    return thing, built


def _a(thing: Any) -> str:
    kind = type(thing).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


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
