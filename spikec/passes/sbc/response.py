"""What a neuron's membrane makes of one input spike, reset left out: the matrix M of SBC, as a filter over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from spikec.compiler.fixed import Arithmetic, FixedNeuron
from spikec.compiler.ir import Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.weights import Array

Order = Literal["none", "decay_add", "add_decay", "add_use_decay"]
STEPS = 64
"""Over how many steps two responses are compared when they are clustered."""


@dataclass(frozen=True)
class Response:
    """A membrane that never fires (methods.md 1.3): M[t, s] = k[t - s], zero for s > t.

        none:                       u = x
        decay_add, add_use_decay:   u = a_syn u + x
        add_decay:                  u = a_syn (u + x)
        v = a_mem v + u;            k is the v of x = 1, 0, 0, ...

    Gains are left out (`gains` gives them): a constant on M scales the Hessian as a whole, and changes nothing where
    damping is relative. `identity` is M = I, for a connection with no neuron behind it; so is a_mem = 0.
    """

    a_mem: float = 0.0
    a_syn: float = 0.0
    order: Order = "none"

    @property
    def identity(self) -> bool:
        """Say whether it changes nothing."""
        return self.a_mem == 0 and (self.order == "none" or (self.order != "add_decay" and self.a_syn == 0))

    @property
    def recurrence(self) -> tuple[float, float, float]:
        """Give (a_mem, a_syn, gain): M is u = a_syn u + gain x, v = a_mem v + u in every order."""
        if self.order == "none":
            return self.a_mem, 0.0, 1.0
        return self.a_mem, self.a_syn, self.a_syn if self.order == "add_decay" else 1.0

    def kernel(self, steps: int) -> Array:
        """Give k[0], ..., k[steps - 1] (float64): what the membrane shows after one input of 1."""
        impulse = np.zeros((1, steps, 1))
        impulse[:, :1] = 1.0
        return self.filtered(impulse).reshape(-1)

    def matrix(self, steps: int) -> Array:
        """Give M, (steps, steps) lower triangular; for looking at, the work is done by `filtered`."""
        kernel = np.concatenate([self.kernel(steps), np.zeros(1)])
        lag = np.arange(steps)[:, None] - np.arange(steps)
        return np.asarray(kernel[np.where(lag >= 0, lag, steps)])

    def filtered(self, x: Array, state: State | None = None, dtype: Any = np.float64) -> Array:
        """Give M x along axis 1 of (N, T, ...); a `state` carries on from the chunk before and is moved along."""
        values = np.array(x, dtype)
        if self.identity:
            return values
        state = State.zero(values[:, 0].shape, dtype) if state is None else state
        for t in range(values.shape[1]):
            values[:, t] = state.step(self.a_mem, self.a_syn, self.order, values[:, t])
        return values

    def adjoint(self, z: Array, state: State | None = None, dtype: Any = np.float64) -> Array:
        """Give M^T z along axis 1 of (N, T, ...): the same filter backward in time (chunks come last first)."""
        return self.filtered(z[:, ::-1], state, dtype)[:, ::-1]


@dataclass
class State:
    """Where a filter stands between two chunks of time: current u and membrane v."""

    u: Array
    v: Array

    @classmethod
    def zero(cls, shape: Shape, dtype: Any = np.float64) -> State:
        """Give the state before the first step."""
        return cls(np.zeros(shape, dtype), np.zeros(shape, dtype))

    def copy(self) -> State:
        """Give a copy that moves on its own."""
        return State(self.u.copy(), self.v.copy())

    def step(self, a_mem: float | Array, a_syn: float | Array, order: Order, x: Array) -> Array:
        """Advance by one step and give the membrane."""
        u = x
        if order != "none":
            np.multiply(self.u, a_syn, out=self.u)
            self.u += x * a_syn if order == "add_decay" else x
            u = self.u
        np.multiply(self.v, a_mem, out=self.v)
        self.v += u
        return self.v


class Group(NamedTuple):
    """Output rows whose neurons respond alike; `rows` are sorted indices."""

    response: Response
    rows: Array


def of(op: Neuron | FixedNeuron | None, shape: Shape, *, axis: int = 0, limit: int = 8) -> tuple[Group, ...]:
    """Give the responses of a population, with the rows of the weight matrix before it that have each.

    Args:
        op: the neurons, or None where the connection has none behind it: M = I.
        shape: their shape; the rows lie along `axis` (0 for a convolution's channels, -1 for a linear layer's last).
        axis: see shape.
        limit: how many groups at most. A row whose neurons differ among themselves counts with the decays of its
            median neuron (by a_mem, then a_syn). Where more distinct responses are left, farthest-point clustering:
            begin with the one that most rows have, add the one that is farthest from all chosen until there are
            `limit`, and let each row have the nearest chosen one. So each chosen response is one that some neuron
            has; the distance is that of the kernels' shapes over the first 64 steps (`distance`).

    Raises:
        ValueError: the limit is below 1.
    """
    if limit < 1:
        raise ValueError(f"a layer has at least one response; the limit is {limit}")
    rows = shape[axis]
    if op is None:
        return (Group(Response(), np.arange(rows)),)
    order, pairs = _decays(op)
    table = _rows(pairs, shape, axis)
    distinct, which = np.unique(table, axis=0, return_inverse=True)
    which = which.reshape(-1)
    owner = _clustered(distinct, order, np.bincount(which, minlength=len(distinct)), limit)[which]
    return tuple(
        Group(Response(float(distinct[i, 0]), float(distinct[i, 1]), order), np.flatnonzero(owner == i))
        for i in np.unique(owner)
    )


def gains(op: Neuron | FixedNeuron | None, shape: Shape, *, axis: int = 0) -> Array:
    """Give what one unit of input adds to each row's membrane (rows,): g_in g_syn, or 2**input_exp.

    Losses of rows with unlike gains compare after the factor gain**2, as with a batch norm (methods.md 1.4).
    Where a row's neurons differ among themselves: the root mean square.
    """
    gain: Array = np.ones(())
    if isinstance(op, Neuron):
        gain = np.multiply(op.g_in, op.g_syn, dtype=np.float64)
    elif op is not None:
        gain = np.asarray(1 << op.arithmetic.input_exp, np.float64)
    table = np.moveaxis(np.broadcast_to(gain, shape), axis, 0).reshape(shape[axis], -1)
    same = np.all(table == table[:, :1], axis=1)
    return np.asarray(np.where(same, np.abs(table[:, 0]), np.sqrt(np.mean(table**2, axis=1))))


def distance(one: Response, other: Response) -> float:
    """Give how far apart two responses are in shape: |k1/|k1| - k2/|k2||, over 64 steps (0: alike, at most 2)."""
    shapes = [_shapes(np.array([[r.a_mem, r.a_syn]]), r.order)[0] for r in (one, other)]
    return float(np.linalg.norm(shapes[0] - shapes[1]))


def farthest(op: Neuron | FixedNeuron | None, shape: Shape, groups: Sequence[Group], *, axis: int = 0) -> float:
    """Give the largest `distance` of any neuron's own response from that of its row's group (0: grouping is exact)."""
    if op is None:
        return 0.0
    order, pairs = _decays(op)
    table = np.stack([np.moveaxis(np.broadcast_to(p, shape), axis, 0) for p in pairs], axis=-1)
    worst = 0.0
    for response, rows in groups:
        own = np.unique(table[rows].reshape(-1, 2), axis=0)
        kernels = _shapes(np.vstack([[[response.a_mem, response.a_syn]], own]), order)
        worst = max(worst, float(np.linalg.norm(kernels[1:] - kernels[0], axis=1).max(initial=0.0)))
    return worst


def _decays(op: Neuron | FixedNeuron) -> tuple[Order, tuple[Array, Array]]:
    """Give the order of the synapse, and the parts of v and of u that a step keeps."""
    if isinstance(op, FixedNeuron):
        kept = _kept(op.v_decay, op.arithmetic)
        if not op.has_current:
            return "none", (kept, np.zeros(()))
        return "decay_add", (kept, _kept(op.u_decay, op.arithmetic))
    mem = np.asarray(op.a_mem, np.float64)
    return op.syn_order, (mem, np.zeros(()) if op.syn_order == "none" else np.asarray(op.a_syn, np.float64))


def _kept(constant: Any, rules: Arithmetic) -> Array:
    """Give the part of a state that a decay constant keeps, rounding left out."""
    d = np.asarray(constant, np.float64)
    if rules.decay == "multiply":
        return np.asarray(1 - d / (1 << rules.decay_bits))
    return np.where(d == 0, 1.0, 1 - 2.0**-d)


def _rows(pairs: tuple[Array, Array], shape: Shape, axis: int) -> Array:
    """Give (rows, 2): the decays of each row's median neuron."""
    mem, syn = (np.moveaxis(np.broadcast_to(p, shape), axis, 0).reshape(shape[axis], -1) for p in pairs)
    middle = np.lexsort((syn, mem), axis=1)[:, mem.shape[1] // 2, None]
    return np.concatenate([np.take_along_axis(kept, middle, axis=1) for kept in (mem, syn)], axis=1)


def _clustered(decays: Array, order: Order, counts: Array, limit: int) -> Array:
    """Give, for each pair of decays, the index of the pair that stands for it."""
    if len(decays) <= limit:
        return np.arange(len(decays))
    kernels = _shapes(decays, order)
    latest = int(np.argmax(counts))
    nearest = np.full(len(decays), latest)
    reach = np.linalg.norm(kernels - kernels[latest], axis=1)
    for _ in range(limit - 1):
        latest = int(np.argmax(reach))
        far = np.linalg.norm(kernels - kernels[latest], axis=1)
        nearest = np.where(far < reach, latest, nearest)
        reach = np.minimum(far, reach)
    return nearest


def _shapes(decays: Array, order: Order) -> Array:
    """Give the kernels (n, 64) of pairs (a_mem, a_syn), each of norm 1 (0 where nothing ever arrives)."""
    state, x = State.zero((len(decays),)), np.ones(len(decays))
    steps = []
    for _ in range(STEPS):
        steps.append(state.step(decays[:, 0], decays[:, 1], order, x).copy())
        x = np.zeros(len(decays))
    kernels = np.stack(steps, axis=1)
    norms = np.linalg.norm(kernels, axis=1, keepdims=True)
    return np.asarray(kernels / np.where(norms > 0, norms, 1.0))
