"""Loading: whatever a user calls a model becomes a verified graph, and a way to run the original where there is one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spikec.compiler import artifact as artifacts
from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import Sink, fail, ignore
from spikec.compiler.ir import Graph
from spikec.compiler.runner import Result
from spikec.compiler.serialize import load as load_graph
from spikec.compiler.serialize import loads
from spikec.compiler.verify import verify
from spikec.compiler.weights import Array
from spikec.driver.data import as_network_input
from spikec.runtime.events import load_input

GRAPH_FILE = "graph.spk"
TRAINED_FILE = "trained.spk"
COMPRESSED_FILE = "compressed.spk"
QUANTIZED_FILE = "quantized.spk"
KINDS = ".spk, .nir, .onnx, .net, an artifact's directory, or FILE.py:OBJECT with --weights"


@dataclass(frozen=True)
class LoadOptions:
    """How to read a model where the model itself does not say.

    time_axis: axis of time in the network's own input: 0 for (T, N, *shape), 1 for (N, T, *shape), None where one call
    is one step or repeats a static input. dt: seconds a step. readout: what of the network's results is the output.
    nir: what NIR leaves open, as `NirOptions` fields by name (`from` stands for `writer`). net: arguments of the .net
    reader by name. onnx: what an ONNX file leaves open, as `OnnxOptions` fields by name. samples: inputs (N, T, *shape)
    or (N, *shape) to balance the thresholds of a converted ONNX network on, where `onnx` has none.
    """

    example: Any = None
    time_axis: int | str | None = 0
    dt: float = 1e-3
    readout: Literal["auto", "spikes", "membrane"] = "auto"
    weights: str | Path | None = None
    unsafe_weights: bool = False
    nir: dict[str, Any] = field(default_factory=dict)
    net: dict[str, Any] = field(default_factory=dict)
    onnx: dict[str, Any] = field(default_factory=dict)
    samples: Any = None


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model: its graph, where it came from, and its own framework's way to run it (None: no framework here).

    `native` takes inputs (N, T, *shape) and gives outputs and `s/NODE` traces of the graph's neurons.
    """

    graph: Graph
    source: str = ""
    native: Callable[[Array], Result] | None = None


def load_model(model: Any, options: LoadOptions | None = None, *, remark: Sink = ignore) -> Model:
    """Load a model.

    Args:
        model: a Graph, an Artifact, a torch module, a nir.NIRGraph, or a path (see KINDS).
        options: how to read it.
        remark: told about choices that were made.

    Raises:
        CompileError: it cannot be read; every reason.
    """
    options = options or LoadOptions()
    if isinstance(model, Graph):
        return Model(verify(model), model.name)
    if isinstance(model, Artifact):
        return Model(trained_graph(model), model.target)
    if isinstance(model, str | Path):
        return _load_path(str(model), options, remark)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _load_module(model, type(model).__name__, options, remark)
    if type(model).__module__.partition(".")[0] == "nir":
        return _load_nir(model, options, remark)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise fail("model/unknown", f"a {kind} is not a model that spikec knows", help=f"known: torch modules, {KINDS}")


def with_example(options: LoadOptions, inputs: Array, steps: int | None) -> LoadOptions:
    """Take the example that a torch network is traced on from the user's samples, where none was given.

    Args:
        options: how to read the model.
        inputs: (N, T, *shape), or (N, *shape) of a static input.
        steps: for how many steps a static input is repeated; given with time axis None, the input is static.
    """
    if options.example is not None or not len(inputs):
        return options
    static = options.time_axis is None and steps is not None
    sample = np.asarray(inputs[:2], dtype=np.float32)
    return replace(options, example=as_network_input(sample, options.time_axis, static=static))


def trained_graph(artifact: Artifact) -> Graph:
    """Give the graph that an artifact was compiled from, or the compiled one where it came in integers."""
    name = TRAINED_FILE if TRAINED_FILE in artifact.files else GRAPH_FILE
    return loads(artifact.files[name], name)


def compiled_graph(artifact: Artifact) -> Graph:
    """Give the graph that an artifact deploys."""
    if GRAPH_FILE not in artifact.files:
        raise fail(
            "artifact/no-graph",
            f"an artifact for '{artifact.target}' without {GRAPH_FILE} cannot be run",
            help="compile again",
        )
    return loads(artifact.files[GRAPH_FILE], GRAPH_FILE)


def _load_path(text: str, options: LoadOptions, remark: Sink) -> Model:
    path = Path(text)
    if ".py:" in text:
        from spikec.frontends.torch.load import load_object

        weights = None if options.weights is None else Path(options.weights)
        module = load_object(text, weights, unsafe=options.unsafe_weights, remark=remark)
        return _load_module(module, text, options, remark)
    if path.is_dir():
        return Model(trained_graph(artifacts.read(path)), text)
    if not path.exists():
        raise fail("model/missing", f"there is no file {text}", text, f"a model is one of: {KINDS}")
    if path.suffix == ".spk":
        return Model(load_graph(path), text)
    if path.suffix == ".nir":
        return _load_nir(path, options, remark)
    if path.suffix == ".onnx":
        return _load_onnx(path, options, remark)
    if path.suffix == ".net":
        from spikec.frontends.netx import lower

        with _known_names("net", ("input_shape", "input_message_bits", "reset_interval", "reset_offset"), options.net):
            return Model(verify(lower(path, **options.net, remark=remark)), text)
    raise fail(
        "model/unknown",
        f"'{path.suffix or path.name}' is not a kind of model that spikec reads",
        text,
        f"known: {KINDS}",
    )


def _load_nir(source: Any, options: LoadOptions, remark: Sink) -> Model:
    from spikec.frontends.nir import NirOptions, lower

    given = {"writer" if name == "from" else name: value for name, value in options.nir.items()}
    with _known_names("nir", NirOptions.__dataclass_fields__, given):
        chosen = NirOptions(**given)
    return Model(verify(lower(source, chosen, remark=remark)), str(source) if isinstance(source, Path) else "nir")


def _load_onnx(path: Path, options: LoadOptions, remark: Sink) -> Model:
    from spikec.frontends.onnx import OnnxOptions, lower

    given = dict(options.onnx)
    if isinstance(given.get("calibrate"), str | Path):
        given["calibrate"] = load_input(str(given["calibrate"])).inputs
    with _known_names("onnx", OnnxOptions.__dataclass_fields__, given):
        chosen = OnnxOptions(**given)
    graph = lower(path, chosen, readout=options.readout, samples=options.samples, remark=remark)
    return Model(verify(graph), str(path))


@contextmanager
def _known_names(kind: str, known: Iterable[str], given: Mapping[str, Any]) -> Iterator[None]:
    """Refuse option names that a reader does not have, and values that it refuses."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        help = f"known: {', '.join(known)}"
        raise fail(f"{kind}/unknown-option", f"the {kind} reader has no option {', '.join(unknown)}", help=help)
    try:
        yield
    except (TypeError, ValueError) as error:
        raise fail(f"{kind}/bad-option", f"the {kind} reader does not take that: {error}") from error


def _load_module(module: Any, source: str, options: LoadOptions, remark: Sink) -> Model:
    from spikec.frontends.torch import lower
    from spikec.frontends.torch.framework import run_framework

    if options.example is None:
        raise fail(
            "torch/no-example",
            "a torch network is traced on an example input, and none was given",
            source,
            "give --calibrate DATA or --example DATA (in Python: example=x, laid out as the network takes it)",
        )
    graph = lower(
        module,
        options.example,
        time_axis=options.time_axis,
        dt=options.dt,
        readout=options.readout,
        source=source,
        remark=remark,
    )

    def native(inputs: Array) -> Result:
        result: Result = run_framework(module, inputs, graph, time_axis=options.time_axis)
        return result

    return Model(verify(graph), source, native)
