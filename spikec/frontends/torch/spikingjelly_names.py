"""The classes of SpikingJelly by name: what is a neuron, which layer of torch is wrapped, what is refused and why."""

from __future__ import annotations

NODES = (
    "IFNode",
    "LIFNode",
    "ParametricLIFNode",
    "CUBALIFNode",
    "SimpleIFNode",
    "SimpleLIFNode",
    "HalfThresholdIFNode",
)
WRAPPED = {
    **{
        name: name
        for name in (
            "Linear",
            "Conv1d",
            "Conv2d",
            "BatchNorm1d",
            "BatchNorm2d",
            "AvgPool1d",
            "AvgPool2d",
            "AdaptiveAvgPool1d",
            "AdaptiveAvgPool2d",
            "MaxPool1d",
            "MaxPool2d",
            "Flatten",
            "Dropout",
            "Dropout2d",
        )
    },
    "WSConv2d": "Conv2d",
    "WSLinear": "Linear",
    "ThresholdDependentBatchNorm1d": "BatchNorm1d",
    "ThresholdDependentBatchNorm2d": "BatchNorm2d",
}
"""Layers, and the layer of torch that each is in evaluation mode."""
CONTAINERS = (
    "MultiStepContainer",
    "SeqToANNContainer",
    "StepModeContainer",
    "ElementWiseRecurrentContainer",
    "PrintShapeModule",
)
"""Classes whose forward is followed as the user's own is."""
LEGACY = ("clock_driven", "event_driven", "timing_based")

IN_DATA = "encode the input before the network is given it"
LINEAR = "use LIFNode or ParametricLIFNode: their membrane follows a linear equation"
NODE = "use IFNode, LIFNode, ParametricLIFNode or CUBALIFNode"
READOUT = "use LIFNode or IFNode with a v_threshold that is never met and store_v_seq=True, and return its v_seq"
PARALLEL = "use LIFNode: it weighs the steps of all of time at once"
BINARY = "use LIFNode: its spikes are 0 or 1"
ONLINE = "load the weights into a network of LIFNode with the same tau: it is the same forward"
PLANE = "use layers of one or two dimensions"
ATTENTION = "attention multiplies signals by signals, which has no op: join branches by sums"
NORM = "use BatchNorm1d or BatchNorm2d, the same at every step"
CONVERTED = "convert ReLU networks, which become IFNode: its operator multiplies or normalises signals"
UNSUPPORTED = {
    **dict.fromkeys(("BaseNode", "SimpleBaseNode", "AdaptBaseNode", "FlexSN"), NODE),
    **dict.fromkeys(("QIFNode", "EIFNode", "IzhikevichNode", "RAFNode"), LINEAR),
    **dict.fromkeys(("KLIFNode", "GatedLIFNode", "ComplementaryLIFNode"), "use ParametricLIFNode"),
    "LIAFNode": "use LIFNode: it gives out spikes, not an activation of its membrane",
    **dict.fromkeys(("NonSpikingBaseNode", "NonSpikingIFNode", "NonSpikingLIFNode"), READOUT),
    **dict.fromkeys(("PSN", "MaskedPSN", "SlidingPSN"), PARALLEL),
    **dict.fromkeys(("TernaryIFNode", "TernaryLIFNode", "STBIFNode", "ILIFNode"), BINARY),
    **dict.fromkeys(("FewSpikeNode", "HGNode", "OutlierAwareThresholdNode", "ActivationAwareIFNode"), "use IFNode"),
    **dict.fromkeys(("DSRIFNode", "DSRLIFNode"), "use IFNode or LIFNode: it scales its rates"),
    **dict.fromkeys(("MPBNBaseNode", "MPBNLIFNode"), "use LIFNode, and BatchNorm before it, not on its membrane"),
    **dict.fromkeys(("ILCBaseNode", "ILCIFNode", "ILCLIFNode", "ILCCUBALIFNode"), NODE),
    **dict.fromkeys(
        (
            "NoisyBaseNode",
            "NoisyCUBALIFNode",
            "NoisyILCBaseNode",
            "NoisyILCCUBALIFNode",
            "NoisyNonSpikingBaseNode",
            "NoisyNonSpikingIFNode",
        ),
        "use CUBALIFNode: it has no noise",
    ),
    **dict.fromkeys(("OTTTLIFNode", "SLTTLIFNode"), ONLINE),
    **dict.fromkeys(("GradwithTrace", "SpikeTraceOp", "OTTTSequential"), ONLINE),
    **dict.fromkeys(
        (
            "TemporalWiseAttention",
            "MultiDimensionalAttention",
            "SpikingSelfAttention",
            "QKAttention",
            "TokenQKAttention",
            "ChannelQKAttention",
            "SpikeDrivenSelfAttention",
        ),
        ATTENTION,
    ),
    **dict.fromkeys(
        (
            "Conv3d",
            "BatchNorm3d",
            "MaxPool3d",
            "AvgPool3d",
            "AdaptiveAvgPool3d",
            "ThresholdDependentBatchNorm3d",
        ),
        PLANE,
    ),
    **dict.fromkeys(
        (
            "ConvTranspose1d",
            "ConvTranspose2d",
            "ConvTranspose3d",
            "Upsample",
            "MaxUnpool1d",
            "MaxUnpool2d",
            "MaxUnpool3d",
        ),
        "let the network grow no larger than its input: a transposed convolution has no op",
    ),
    **dict.fromkeys(
        (
            "GroupNorm",
            "NeuNorm",
            "TemporalEffectiveBatchNorm1d",
            "TemporalEffectiveBatchNorm2d",
            "TemporalEffectiveBatchNorm3d",
            "BatchNormThroughTime1d",
            "BatchNormThroughTime2d",
            "BatchNormThroughTime3d",
        ),
        NORM,
    ),
    "DropConnectLinear": "use Linear, with Dropout after it",
    "SynapseFilter": "use CUBALIFNode, whose synaptic current decays: this filter decays by what comes in",
    **dict.fromkeys(
        ("TLastSeqToANNContainer", "TLastMultiStepContainer"),
        "use SeqToANNContainer and MultiStepContainer: time is the first axis",
    ),
    **dict.fromkeys(("SpikeCountToBinary", "TemporalBinSum"), "use spikes of 0 or 1, one a step"),
    **dict.fromkeys(("STDPLearner", "MSTDPLearner", "MSTDPETLearner"), "leave it out after training"),
}
PLACES = {
    "rnn": "use LinearRecurrentContainer with LIFNode: a gate multiplies signals by signals, which has no op",
    "encoding": IN_DATA,
    "layer.attention": ATTENTION,
    "ann2snn.operators": CONVERTED,
    "neuron": NODE,
}
"""What to do in place of any other class of a part of the package."""
