"""A float network without loops, a layer at a time over all of time: quick enough to sweep a convolutional network.

The reference runs step by step, as loops need it. Here every convolution is one call for all steps (PyTorch), and only
the neurons step. Sums are rounded in another order, so a few spikes may differ from the reference's: a benchmark that
uses this compares both first.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from spikec.compiler.ir import Graph
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv2d, Input, Linear, Output
from spikec.compiler.weights import Array
from spikec.runtime.reference_neuron import FloatState
from spikec.runtime.reference_ops import stateless


def run(graph: Graph, inputs: Array) -> Array:
    """Give the first output, (N, T, *shape), of float inputs (N, T, *shape)."""
    samples, steps = inputs.shape[:2]
    sent: dict[str, Array] = {}
    for node in graph:
        if any(graph.is_recurrent(name, node.name) for name in node.inputs):
            raise ValueError(f"'{node.name}' is in a loop")
        if isinstance(node.op, Input):
            sent[node.name] = inputs
            continue
        given = np.asarray(sum(sent[name] for name in node.inputs))
        if isinstance(node.op, Neuron):
            state = FloatState(node.op, (samples, *given.shape[2:]), given.dtype)
            sent[node.name] = np.stack([state.step(given[:, t]) for t in range(steps)], axis=1)
        else:
            flat = _at_once(node.op, given.reshape(samples * steps, *given.shape[2:]))
            sent[node.name] = flat.reshape(samples, steps, *flat.shape[1:])
    return sent[graph.of(Output)[0].name]


def _at_once(op: object, x: Array) -> Array:
    """Compute a node without memory for all steps."""
    if isinstance(op, Linear):
        made: Array = x @ op.weight.decode().astype(x.dtype).T
        return made if op.bias is None else made + op.bias.astype(x.dtype)
    if isinstance(op, Conv2d):
        weight = torch.from_numpy(np.array(op.weight.decode().astype(x.dtype)))
        bias = None if op.bias is None else torch.from_numpy(np.array(op.bias.astype(x.dtype)))
        padded = torch.from_numpy(np.pad(x, ((0, 0), (0, 0), *op.padding)))
        out: Array = functional.conv2d(padded, weight, bias, op.stride, 0, op.dilation, op.groups).numpy()
        return out
    return stateless(op, x)  # type: ignore[arg-type]
