"""Weights and their encodings: what a weight tensor means (`decode`) and what it costs in bits (`bits`, `pack`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.ir import Shape

Array = NDArray[Any]
Sign = Literal["mixed", "excitatory", "inhibitory"]
Run = tuple[Array, int]
"""Whole numbers and the bits that each of them takes in a packed form."""


@runtime_checkable
class Weight(Protocol):
    """An encoded weight tensor.

    The law of every encoding: `decode()` keeps what the encoder promised, and `bits` is the size of the canonical
    packed form before padding to whole bytes, so `len(pack()) == ceil(bits / 8)`.
    """

    encoding: ClassVar[str]

    @property
    def shape(self) -> Shape:
        """Shape of the decoded tensor."""
        ...

    @property
    def bits(self) -> int:
        """Size of the canonical packed form in bits, tables and indices included."""
        ...

    def decode(self) -> Array:
        """Give the tensor that the encoding means, of `shape`: floats, or the integers of a fixed weight."""
        ...

    def pack(self) -> bytes:
        """Give the canonical packed form."""
        ...

    def describe(self) -> str:
        """Say in a few words what it is, for the textual IR."""
        ...


@runtime_checkable
class Whole(Weight, Protocol):
    """An encoding of every entry of a tensor, which a structure of zeros (Sparse, N:M) may have inside.

    `stored` is 0 exactly where the weight is. The packed form is `run(stored())` and then `tail()`.
    """

    def stored(self) -> Array:
        """Give what the packed form stores of each entry, of `shape`."""
        ...

    def run(self, kept: Array) -> Run:
        """Give some of the stored entries as a run of bits."""
        ...

    def tail(self) -> list[Run]:
        """Give what follows the entries: exponents or scales."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """Plain floating-point weights, one value an entry."""

    values: Array
    encoding: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        """Keep a read-only copy."""
        object.__setattr__(self, "values", frozen(np.asarray(self.values)))

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return tuple(self.values.shape)

    @property
    def bits(self) -> int:
        """Entries times the width of the float."""
        return int(self.values.size * self.values.dtype.itemsize * 8)

    def decode(self) -> Array:
        """Give the values."""
        return self.values

    def stored(self) -> Array:
        """Give the values."""
        return self.values

    def run(self, kept: Array) -> Run:
        """Give the bits of the floats."""
        width = self.values.dtype.itemsize
        plain = np.ascontiguousarray(kept, dtype=self.values.dtype.newbyteorder("<"))
        return np.frombuffer(plain.tobytes(), dtype=f"<u{width}"), 8 * width

    def tail(self) -> list[Run]:
        """Give nothing."""
        return []

    def pack(self) -> bytes:
        """Give the values, little-endian, in C order."""
        return np.ascontiguousarray(self.values).astype(self.values.dtype.newbyteorder("<")).tobytes()

    def describe(self) -> str:
        """Say type and shape."""
        return f"dense {self.values.dtype.name}{list(self.shape)}"


@dataclass(frozen=True, eq=False)
class Fixed:
    """Integer weights with an exponent: the connection adds `values * 2**exponent` (when, is the op's `sum` field).

    Every value is a multiple of `step` and `values / step` fits in `width` bits: two's complement where `sign` is
    mixed, a plain magnitude where all weights have one sign. Loihi's 8-bit mixed weights are the even numbers of
    [-256, 254], so width 8 and step 2; its excitatory ones are 0..255, width 8 and step 1.
    `exponent` is one integer, or one for each output (shape (out,)). `decode()` gives the integers; `scale` is what
    one unit of `values * 2**exponent` means in the trained network's terms (0 where nobody knows).
    """

    values: Array
    exponent: int | Array = 0
    width: int = 8
    sign: Sign = "mixed"
    step: int = 1
    scale: float | Array = 0.0
    encoding: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        """Store as int32 and refuse what the width, the step or the sign cannot hold."""
        values = np.asarray(self.values)
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"fixed weights must be integers, not {values.dtype}")
        values = values.astype(np.int64)
        low, high = self.limits(self.width, self.sign, self.step)
        if values.size and (values.min() < low or values.max() > high):
            kind = f"a {self.width}-bit {self.sign} weight of step {self.step}"
            raise ValueError(f"{kind} lies in [{low}, {high}]; these span [{values.min()}, {values.max()}]")
        if np.any(values % self.step):
            raise ValueError(f"every weight must be a multiple of {self.step}")
        object.__setattr__(self, "values", frozen(values.astype(np.int32)))
        exponent = np.asarray(self.exponent)
        object.__setattr__(self, "exponent", int(exponent) if exponent.ndim == 0 else frozen(exponent.astype(np.int32)))
        if np.ndim(self.scale):
            object.__setattr__(self, "scale", frozen(np.asarray(self.scale)))

    @staticmethod
    def limits(width: int, sign: Sign, step: int = 1) -> tuple[int, int]:
        """Smallest and largest value of a width, sign mode and step."""
        if sign == "mixed":
            return -(1 << (width - 1)) * step, ((1 << (width - 1)) - 1) * step
        top = ((1 << width) - 1) * step
        return (0, top) if sign == "excitatory" else (-top, 0)

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return tuple(self.values.shape)

    @property
    def bits(self) -> int:
        """Entries times the width, and 5 bits for each exponent."""
        return int(self.values.size) * self.width + 5 * int(np.size(self.exponent))

    def stored(self) -> Array:
        """Give what the packed form stores of each entry: values / step, as magnitudes where inhibitory."""
        whole = self.values // self.step
        return -whole if self.sign == "inhibitory" else whole

    def run(self, kept: Array) -> Run:
        """Give `width` bits an entry."""
        return kept, self.width

    def tail(self) -> list[Run]:
        """Give the exponents, 5 bits each."""
        return [(np.atleast_1d(np.asarray(self.exponent)), 5)]

    def decode(self) -> Array:
        """Give the integers (without the exponent), int32."""
        return self.values

    def pack(self) -> bytes:
        """Give `width` bits an entry in C order, least significant bit first, then the exponents (5 bits each)."""
        return pack_bits([self.run(self.stored()), *self.tail()])

    def describe(self) -> str:
        """Say width, sign mode, shape and exponent."""
        spread = np.atleast_1d(np.asarray(self.exponent))
        exponent = str(spread[0]) if spread.size == 1 else f"{spread.min()}..{spread.max()} per channel"
        step = f" step={self.step}" if self.step != 1 else ""
        return f"fixed i{self.width}{list(self.shape)} {self.sign}{step} exp={exponent}"


@dataclass(frozen=True, eq=False)
class Sparse:
    """Compressed rows of another encoding's non-zeros: indices of ceil(log2 columns) bits, a count for each row.

    The tensor is seen as a matrix (shape[0], rest). `inner` is the full tensor in its own encoding (Dense, Fixed or
    Grid); zeros in it cost nothing here.
    """

    inner: Whole
    encoding: ClassVar[str] = "sparse"

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return self.inner.shape

    @property
    def _matrix(self) -> Array:
        stored = self.inner.stored()
        return stored.reshape(stored.shape[0], -1)

    @property
    def bits(self) -> int:
        """Row counts, then an index and a value for each non-zero, then what follows them (exponents, scales)."""
        return bits_of(self._runs())

    def decode(self) -> Array:
        """Give the full tensor."""
        return self.inner.decode()

    def pack(self) -> bytes:
        """Give counts, then indices, then values, then exponents or scales, each as one run of bits."""
        return pack_bits(self._runs())

    def _runs(self) -> list[Run]:
        matrix = self._matrix
        width = int(matrix.shape[1])
        rows, columns = np.nonzero(matrix)
        counts = (np.count_nonzero(matrix, axis=1), width.bit_length())
        indices = (columns, max(1, (width - 1).bit_length()))
        return [counts, indices, self.inner.run(matrix[rows, columns]), *self.inner.tail()]

    def describe(self) -> str:
        """Say what is inside and how much of it is left."""
        size = max(1, self._matrix.size)
        return f"sparse {100 * np.count_nonzero(self._matrix) / size:.1f}% of {self.inner.describe()}"


def unwrapped(weight: Weight) -> Weight:
    """Give the encoding that holds the values: what Sparse and N:M weights have inside, else the weight itself."""
    inner = getattr(weight, "inner", None)
    return inner if isinstance(inner, Weight) else weight


def bits_of(runs: list[Run]) -> int:
    """Give how many bits runs take."""
    return sum(int(np.size(values)) * width for values, width in runs)


def pack_bits(runs: list[Run]) -> bytes:
    """Pack runs of integers, each of its own width in bits (two's complement), least significant bit first."""
    streams = []
    for values, width in runs:
        whole = np.asarray(values).reshape(-1).astype(np.uint64)
        streams.append(
            ((whole[:, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8).reshape(-1)
        )
    return np.packbits(np.concatenate(streams), bitorder="little").tobytes() if streams else b""


def frozen(array: Array) -> Array:
    """Give a read-only array of the same values: a copy, unless the given one is read-only already."""
    if not array.flags.writeable:
        return array
    copy = np.array(array)
    copy.flags.writeable = False
    return copy
