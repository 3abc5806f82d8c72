"""The memory of a Loihi 2 core: what its limits are, and how many words of synapse memory a connection takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

WORD = 64
"""Bits of a word of synapse memory."""

HEADER = 10
"""Bits before the synapses of one axon."""

CONV_EXTRA = 2
"""Bits beside the weight in a shared kernel."""

OVERHEAD_2022 = 12
"""Bits beside the weight in a dense synapse, by what Intel's compiler of 2022/23 printed."""

OVERHEAD_2024 = 7
"""The same, of 2024."""


@dataclass(frozen=True)
class CoreLimits:
    """What one core of Loihi 2 holds, as Intel's compiler printed it.

    `overhead` is a dense synapse's bits beside its weight: 12 by default, the larger of the two that were seen, so
    that what fits here fits with either.
    """

    words: int = 12_000
    neurons: int = 4_095
    axons_in: int = 16_000
    axon_map: int = 16_000
    groups: int = 8
    overhead: int = OVERHEAD_2022
    cores: int = 128


def dense_words(axons: int, neurons: int, bits: int, overhead: int = OVERHEAD_2022) -> int:
    """Give the words of a dense connection on one core.

    Args:
        axons: inputs with any weight that is not 0 into these neurons; the zeros inside such an axon are stored.
        neurons: neurons of the layer on the core.
        bits: bits of a weight.
        overhead: bits beside the weight.
    """
    return axons * ceil((neurons * (bits + overhead) + HEADER) / WORD)


def conv_words(channels: int, taps: int, outputs: int, bits: int) -> int:
    """Give the words of a kernel, which the neurons of a core share: a bound that was up to 20 % over what was printed.

    Args:
        channels: input channels (of one group).
        taps: entries of the kernel for a pair of channels.
        outputs: output channels.
        bits: bits of a weight.
    """
    return channels * taps * ceil(outputs * (bits + CONV_EXTRA) / WORD)
