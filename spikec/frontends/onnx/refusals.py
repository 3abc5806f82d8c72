"""What is not understood, by name, with what to do instead."""

from __future__ import annotations

from spikec.compiler.diagnostics import CompileError, fail
from spikec.frontends.onnx.source import Call

HELP: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (
            "Sigmoid",
            "Tanh",
            "Elu",
            "Selu",
            "Gelu",
            "Softplus",
            "Mish",
            "HardSigmoid",
            "HardSwish",
            "Erf",
            "Exp",
            "Celu",
        ),
        "train with ReLU: integrate-and-fire neurons rectify, and have no other curve",
    ),
    (("LeakyRelu", "PRelu", "ThresholdedRelu", "Shrink"), "train with plain ReLU: a spike has no negative value"),
    (("Softmax", "LogSoftmax", "Hardmax", "ArgMax"), "end the network before it: the largest output stays the largest"),
    (("LSTM", "GRU", "RNN"), "write the recurrence as spiking neurons with a weighted layer back"),
    (("Loop", "If"), "export one step with its states as inputs and outputs, or use torch's scan"),
    (("Scan",), "let the file hold one Scan and nothing beside it that computes"),
    (
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization", "LRN"),
        "use BatchNormalization, which is constant once trained",
    ),
    (("RMSNormalization", "MeanVarianceNormalization"), "use BatchNormalization, which is constant once trained"),
    (("ConvTranspose", "Upsample", "Resize", "DepthToSpace"), "use a convolution, with stride where maps get smaller"),
    (("Concat", "Split", "Gather", "Slice", "GatherND"), "sum the branches, or give each a layer of its own"),
    (("GlobalMaxPool", "LpPool", "ReduceMax", "TopK"), "use average pooling"),
    (("ReduceSum", "CumSum"), "return what every step sends; spikec counts the spikes"),
    (("Pad",), "put the padding into the convolution behind it"),
    (("Attention", "Einsum", "MultiHeadAttention"), "spiking attention has no form on this hardware: use layers"),
    (
        ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"),
        "export the network in floats; spikec quantizes it for the target",
    ),
    (("RandomNormal", "RandomUniform", "RandomNormalLike", "Bernoulli"), "export in evaluation mode, without noise"),
    (("Round", "Ceil", "Mod"), "several spikes a step are floor(v / threshold)"),
    (("Equal", "IsNaN", "IsInf"), "compare the membrane with its threshold by > or >="),
    (("Pow", "Sqrt", "Reciprocal", "Abs", "Log", "Sin", "Cos"), "use neurons whose update is linear between spikes"),
)
"""Ops by what to do instead."""


def refusal(call: Call) -> CompileError:
    """Make the error for a node that is not understood."""
    for names, help in HELP:
        if call.kind in names:
            return fail("onnx/unsupported", f"{call.kind} has no form in a spiking network", call.where, help)
    help = "known custom nodes: ai.nmc::LIF, SNN_implementation::LIF and ::LIF_stateful; or export standard ops"
    if not call.domain:
        help = "docs/frontends.md lists the ops that are read"
    return fail("onnx/unsupported", f"spikec does not know the op {call.kind}", call.where, help)
