"""The Hessian of SBC, 2 (MX)^T (MX) of what a layer is given, summed in a stream within a bound on memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.ops import Connection, Linear
from spikec.compiler.weights import Array
from spikec.passes.sbc.kernels import mirror, response_hessian, spike_hessian
from spikec.passes.sbc.patches import Box, Windows, halves, positions
from spikec.passes.sbc.response import Response, State

MEMORY = 1 << 28
SPARSE = 0.3
"""Share of inputs that are not 0 below which a sample goes the way of spikes."""
WHOLE = 1 << 24
"""Below this, float32 holds every whole number."""


class HessianSum:
    """H = mean over samples and output positions of 2 (MX)^T (MX), one for each group (methods.md 1.4).

    X (T, d) is what one output position is given over time: the inputs of a linear layer, the window of a convolution,
    with the latency, the delays and the message rule of the op. Time steps are summed, not averaged.

    Analog samples go the dense way, Z^T Z of Z = MX, all in float64: the value does not depend on the memory bound, on
    how the samples are divided over calls, or on their order, beyond 1e-12. Samples of whole numbers, at most 30 % of
    them not 0, go the way of spikes where a whole one fits in the memory: X^T (M^T M X), where rows of M^T M X are
    added up at the spikes alone; that is float32 but for the long sums, equal to the dense way within 1e-6.
    """

    def __init__(
        self,
        op: Connection,
        given: Shape,
        response: Response,
        memory: int = MEMORY,
        delays: Array | None = None,
        exact: bool = False,
    ) -> None:
        """Begin with no samples.

        Args:
            op: the connection whose weights are to be compressed; its weights themselves are not looked at.
            given: shape of its input, without samples and time.
            response: the membrane behind it; rows with another response need a sum of their own.
            memory: bytes that the work on a chunk of samples, positions and time may take, beside the inputs given and
                the sum itself (8 groups d**2, and 8 d**2 for a chunk's product).
            delays: (in,) steps that each input of a linear layer is late, beside the latency. None: the op's own, which
                must then be alike for all rows.
            exact: all samples go the dense way.

        Raises:
            ValueError: the op does not take such an input; its rows have unlike delays and none are given; or the
                memory does not hold one position for one step (`least`).
        """
        self.op = op
        self.given = tuple(given)
        self.windows = Windows.of(op, given)
        self.response = response
        self.memory = memory
        self.exact = exact
        self.samples = 0
        self.delays = _delays(op, self.windows.channels, delays)
        if memory < self.least:
            raise ValueError(f"one position for one step takes {self.least} bytes; the bound is {memory}")
        d = self.windows.columns
        self._sum = np.zeros((self.windows.groups, d, d))

    @property
    def least(self) -> int:
        """The smallest bound on memory that will do, in bytes."""
        return self._bytes(tuple((0, 1) for _ in self.windows.out), 1, 1)

    def add(self, inputs: Array) -> None:
        """Take in samples (N, T, *given), each from its first step to its last.

        Raises:
            ValueError: another shape.
        """
        if np.ndim(inputs) < 2 or np.shape(inputs)[2:] != self.given:
            raise ValueError(f"inputs of shape {list(np.shape(inputs))} do not fit a layer given {list(self.given)}")
        x = self.windows.channels_first(np.asarray(inputs))
        if self.op.sum is not None and self.op.sum.message_bits == 0:
            x = x != 0
        self.samples += len(x)
        if x.shape[1]:
            for few, part in self._by_kind(x):
                for box, first, end, stride in self._pieces(*part.shape[:2]):
                    if few and stride == part.shape[1]:
                        self._spikes(part[first:end], box)
                    else:
                        self._dense(part[first:end], box, stride)

    def value(self) -> Array:
        """Give H (groups, d, d), float64 and symmetric; zero before the first sample."""
        count = max(1, self.samples * positions(self.windows.whole))
        made = self._sum * (2 / count)
        for group in made:
            mirror(group)
        return np.asarray(made)

    def _bytes(self, box: Box, samples: int, steps: int) -> int:
        """Say what a chunk takes: its inputs, filtered twice, the filter's state, and the windows of a group."""
        area, rows = self.windows.area(box), positions(box) * self.windows.columns
        return 8 * samples * (area * (3 * steps + 3) + rows * steps)

    def _by_kind(self, x: Array) -> Iterator[tuple[bool, Array]]:
        """Give runs of samples that are alike in whether they are few whole numbers."""
        kinds = [not self.exact and _few_whole(sample) for sample in x]
        first = 0
        for kind, run in groupby(kinds):
            end = first + len(list(run))
            yield kind, x[first:end]
            first = end

    def _pieces(self, samples: int, steps: int) -> Iterator[tuple[Box, int, int, int]]:
        """Divide the work: boxes of positions, samples from first to end, and how many steps at a time.

        A box is halved while one sample of it does not fit with all its steps; then time is cut.
        """
        boxes = [self.windows.whole]
        while boxes:
            box = boxes.pop()
            if self._bytes(box, 1, steps) > self.memory and positions(box) > 1:
                boxes.extend(reversed(halves(box)))
                continue
            fixed = self._bytes(box, 1, 0)
            stride = max(1, min(steps, (self.memory - fixed) // (self._bytes(box, 1, 1) - fixed)))
            count = max(1, self.memory // self._bytes(box, 1, stride))
            for first in range(0, samples, count):
                yield box, first, min(first + count, samples), stride

    def _dense(self, x: Array, box: Box, stride: int) -> None:
        """Add Z^T Z of the filtered windows, the state of the filter carried from one chunk of time to the next."""
        state: State | None = None
        for start in range(0, x.shape[1], stride):
            chunk = self._arriving(x, box, start, min(start + stride, x.shape[1]))
            state = State.zero(chunk[:, 0].shape) if state is None else state
            z = self.response.filtered(chunk, state)
            for group in range(self.windows.groups):
                rows = self.windows.rows(z, group)
                self._sum[group] += rows.T @ rows

    def _spikes(self, x: Array, box: Box) -> None:
        """Add X^T (M^T M X) of whole samples."""
        given = self._arriving(x, box, 0, x.shape[1])
        given = given if given.dtype in (np.bool_, np.uint8) else given.astype(np.float32)
        if given.size == len(given) * given.shape[1] * self.windows.columns:  # one window, which is all there is
            a_mem, a_syn, gain = self.response.recurrence
            flat = given.reshape(*given.shape[:2], -1)
            response_hessian(flat, a_mem, a_syn, self._sum[0], gain)
            return
        z = self.response.adjoint(self.response.filtered(given)).astype(np.float32)
        for group in range(self.windows.groups):
            first, column = self.windows.offsets(given.shape, group)
            spike_hessian(given, z, self._sum[group], rows=first, columns=column)

    def _arriving(self, x: Array, box: Box, start: int, end: int) -> Array:
        """Give what arrives at a box in steps start to end: late by the latency, and each input by its delay."""
        slab = self.windows.slab(x[:, :0], box)
        out = np.zeros((len(x), end - start, *slab.shape[2:]), x.dtype)
        for late in np.unique(self.delays):
            first = max(start - late, 0)
            if end - late > first:
                part = self.windows.slab(x[:, first : end - late], box)
                alike = self.delays == late
                out[:, first + late - start :, alike] = part[:, :, alike]
        return out


def _few_whole(sample: Array) -> bool:
    """Say whether a sample is mostly zeros, and whole numbers else."""
    if np.count_nonzero(sample) > SPARSE * sample.size:
        return False
    if sample.dtype == np.bool_:
        return True
    whole = np.issubdtype(sample.dtype, np.integer) or all(bool(np.all(step == np.rint(step))) for step in sample)
    return whole and float(sample.max()) < WHOLE and float(sample.min()) > -WHOLE


def _delays(op: Connection, channels: int, given: Array | None) -> Array:
    """Give by how many steps each channel of the input is late."""
    own = np.zeros(channels, np.int64)
    if given is not None:
        if np.shape(given) != own.shape:
            raise ValueError(f"there are {channels} inputs, and delays of shape {list(np.shape(given))}")
        own = np.asarray(given, np.int64)
    elif isinstance(op, Linear) and op.delays is not None:
        if np.any(op.delays != op.delays[:1]):
            raise ValueError("the rows of the layer have unlike delays: give those of one row")
        own = np.asarray(op.delays[0], np.int64)
    return own + op.latency
