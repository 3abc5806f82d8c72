"""Segments of sub-bit weights: a codebook of 9-bit codewords, an index a patch, a sign an output channel.

A patch is nine binary weights: the 3 x 3 taps of one input channel, bit k = 3 ky + kx, or nine consecutive inputs of a
fully connected layer. A bit of 1 means +1, of 0 means -1; the sign bit of a channel turns all its weights round. The
scale of a channel is folded into its threshold and bias, so it is stored nowhere here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikec.backends.fpga.layout.image import Kind, Segment
from spikec.backends.fpga.layout.words import pack, unpack
from spikec.compiler.weights import Array

TAPS = 9


@dataclass(frozen=True, eq=False)
class CodebookWeights:
    """Weights by codebook: `codewords` (2**eta,) of 9 bits, `indices` (out, patches), `negative` (out,) 0 or 1."""

    codewords: Array
    indices: Array
    negative: Array

    @property
    def eta(self) -> int:
        """Bits of an index."""
        return max(1, (len(self.codewords) - 1).bit_length())

    def decode(self) -> Array:
        """Give the weights, +1 and -1: (out, patches, 9)."""
        taps = 2 * ((self.codewords[self.indices][..., None] >> np.arange(TAPS)) & 1) - 1
        return np.asarray(np.where(self.negative[:, None, None] != 0, -taps, taps))


def segments(weights: CodebookWeights, core: int, lanes: int) -> tuple[Segment, Segment, Segment]:
    """Give codebook, indices and signs of a core.

    Output channel o sits on lane o % lanes of group o // lanes; the word of patch c and group g is at c * groups + g.

    Raises:
        ValueError: the codebook is no power of two long, or an index, codeword or sign is out of range.
    """
    out, patches = weights.indices.shape
    if len(weights.codewords) != 1 << weights.eta:
        raise ValueError(f"a codebook has a power of two of codewords, 2 or more, not {len(weights.codewords)}")
    for name, array, top in (
        ("index", weights.indices, len(weights.codewords)),
        ("codeword", weights.codewords, 1 << TAPS),
        ("sign", weights.negative, 2),
    ):
        if array.size and (array.min() < 0 or array.max() >= top):
            raise ValueError(f"a {name} lies outside [0, {top - 1}]")
    groups = -(-out // lanes)
    index = np.zeros((groups * lanes, patches), np.int64)
    index[:out] = weights.indices
    sign = np.zeros(groups * lanes, np.int64)
    sign[:out] = weights.negative
    by_word = index.reshape(groups, lanes, patches).transpose(2, 0, 1).reshape(patches * groups, lanes)
    return (
        Segment(core, Kind.CODEBOOK, pack(weights.codewords.reshape(-1, 1), TAPS)),
        Segment(core, Kind.INDICES, pack(by_word, weights.eta)),
        Segment(core, Kind.SIGNS, pack(sign.reshape(groups, lanes), 1)),
    )


def weights_of(codebook: Segment, indices: Segment, signs: Segment, out: int) -> CodebookWeights:
    """Give back the weights that segments hold.

    Raises:
        ValueError: the segments do not fit together.
    """
    words = unpack(codebook.words, TAPS, signed=False).reshape(-1)
    eta = max(1, (len(words) - 1).bit_length())
    lanes, groups = signs.words.width, len(signs.words)
    if indices.words.width != lanes * eta or len(indices.words) % groups or not 0 <= groups * lanes - out < lanes:
        raise ValueError("codebook, indices and signs do not fit together")
    by_word = unpack(indices.words, eta, signed=False).reshape(-1, groups, lanes)
    index = by_word.transpose(1, 2, 0).reshape(groups * lanes, -1)[:out]
    return CodebookWeights(words, index, unpack(signs.words, 1, signed=False).reshape(-1)[:out])
