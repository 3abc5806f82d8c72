"""Piecewise-affine values in one normal form, so that the order of a file's operations does not matter.

A value is a sum of terms: a constant array times a product of steps 1[p > 0] or 1[p >= 0] (p such a value itself) times
at most one variable: a state of the step before, a signal that a weighted layer makes, or a floor(p). Since a step is 0
or 1, its powers are itself, and every sum and product of such values has one form, whatever operations it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import numpy as np

from spikec.compiler.weights import Array

Term = tuple[frozenset[int], int]
"""The steps of a term, and its variable (`NONE` for none), by their numbers."""
NONE = -1
CLOSE = 1e-9
STEPS_TO_TRY = 4


class NotAffineError(ValueError):
    """Raised for a value that has no such form: the message says which product or comparison it needs."""


@dataclass(frozen=True, eq=False)
class Value:
    """A sum of terms, each a constant array times steps times a variable; no term is all zero."""

    terms: Mapping[Term, Array]

    @property
    def constant(self) -> Array:
        """The term without steps and variables."""
        return self.terms.get((frozenset(), NONE), np.zeros(()))

    @property
    def is_constant(self) -> bool:
        """Say whether nothing but a constant is in it."""
        return all(term == (frozenset(), NONE) for term in self.terms)

    def variables(self) -> set[int]:
        """Give the variables of its terms; those inside of steps do not count."""
        return {variable for _, variable in self.terms if variable != NONE}

    def steps(self) -> set[int]:
        """Give the steps of its terms; those inside of steps do not count."""
        return {step for steps, _ in self.terms for step in steps}


@dataclass(frozen=True, eq=False)
class Atom:
    """A variable or a step. `inner` is what a step compares with 0 (`strict`: > 0, else >= 0), or a floor rounds."""

    kind: Literal["state", "signal", "floor", "step"]
    name: str = ""
    inner: Value | None = None
    strict: bool = True


@dataclass(eq=False)
class Algebra:
    """The variables and steps that values are made of; equal steps have one number."""

    atoms: list[Atom] = field(default_factory=list)

    def variable(self, kind: Literal["state", "signal"], name: str) -> Value:
        """Make a new variable."""
        self.atoms.append(Atom(kind, name))
        return Value({(frozenset(), len(self.atoms) - 1): np.ones(())})

    def of(self, number: int) -> Value:
        """Give a variable or a step as a value."""
        if self.atoms[number].kind == "step":
            return Value({(frozenset((number,)), NONE): np.ones(())})
        return Value({(frozenset(), number): np.ones(())})

    def product(self, a: Value, b: Value) -> Value:
        """Multiply.

        Raises:
            NotAffineError: both have variables.
        """
        terms: dict[Term, Array] = {}
        for (left, x), (right, y) in product(a.terms, b.terms):
            if x != NONE and y != NONE:
                raise NotAffineError(f"a product of {self.word(x)} and {self.word(y)}")
            factor = a.terms[left, x] * b.terms[right, y]
            _accumulate(terms, (left | right, max(x, y)), factor)
        return _cleaned(terms)

    def step(self, p: Value, *, strict: bool) -> Value:
        """Give 1[p > 0], or 1[p >= 0] where not strict."""
        if p.is_constant:
            return constant(p.constant > 0 if strict else p.constant >= 0)
        if not p.variables():
            return self._of_steps_alone(p, strict)
        terms = [t for t in p.terms if t != (frozenset(), NONE)]
        term = min(terms, key=lambda t: (not np.all(p.terms[t]), len(t[0]), t[1] == NONE, t[1]))
        if np.all(p.terms[term] < 0):
            return minus(constant(1.0), self.of(self._step(scaled(p, -1.0), not strict, term)))
        return self.of(self._step(p, strict, term))

    def floor(self, p: Value) -> Value:
        """Give floor(p)."""
        if p.is_constant:
            return constant(np.floor(p.constant))
        for number, atom in enumerate(self.atoms):
            if atom.kind == "floor" and atom.inner is not None and same(atom.inner, p):
                return self.of(number)
        self.atoms.append(Atom("floor", "", p))
        return self.of(len(self.atoms) - 1)

    def largest(self, p: Value, q: Value) -> Value:
        """Give max(p, q)."""
        difference = minus(p, q)
        return plus(q, self.product(self.step(difference, strict=True), difference))

    def smallest(self, p: Value, q: Value) -> Value:
        """Give min(p, q)."""
        return scaled(self.largest(scaled(p, -1.0), scaled(q, -1.0)), -1.0)

    def choice(self, condition: Value, p: Value, q: Value) -> Value:
        """Give p where the condition holds, else q."""
        return plus(q, self.product(condition, minus(p, q)))

    def where(self, p: Value, steps: Mapping[int, int]) -> Value:
        """Give p with steps set to 0 or 1."""
        terms: dict[Term, Array] = {}
        for (own, variable), factor in p.terms.items():
            if all(steps.get(step, 1) for step in own):
                _accumulate(terms, (own - set(steps), variable), factor)
        return _cleaned(terms)

    def deep(self, p: Value) -> set[int]:
        """Give every variable and step in p, and in what its steps compare."""
        found: set[int] = set()
        todo = [*p.variables(), *p.steps()]
        while todo:
            number = todo.pop()
            if number in found:
                continue
            found.add(number)
            inner = self.atoms[number].inner
            if inner is not None:
                todo += [*inner.variables(), *inner.steps()]
        return found

    def word(self, number: int) -> str:
        """Name a variable for a message."""
        atom = self.atoms[number]
        return f"'{atom.name}'" if atom.name else f"a {atom.kind}"

    def _of_steps_alone(self, p: Value, strict: bool) -> Value:
        """Give a comparison of spikes alone, which is a sum of products of them: by trying 0 and 1 for each."""
        steps = sorted(p.steps())
        if len(steps) > STEPS_TO_TRY:
            raise NotAffineError(f"a comparison of {len(steps)} spikes at once")
        whole = constant(0.0)
        for bits in product((0, 1), repeat=len(steps)):
            given = dict(zip(steps, bits, strict=True))
            truth = self.step(self.where(p, given), strict=strict)
            for step, bit in given.items():
                on = self.of(step)
                truth = self.product(truth, on if bit else minus(constant(1.0), on))
            whole = plus(whole, truth)
        return whole

    def _step(self, p: Value, strict: bool, term: Term) -> int:
        for number, atom in enumerate(self.atoms):
            if atom.kind == "step" and atom.strict == strict and atom.inner is not None and _alike(atom.inner, p, term):
                return number
        self.atoms.append(Atom("step", "", p, strict))
        return len(self.atoms) - 1


def constant(number: Any) -> Value:
    """Give a constant; an array of one value throughout becomes that number."""
    array = np.asarray(number, np.float64)
    if array.size and np.all(array == array.reshape(-1)[0]):
        array = array.reshape(-1)[0]
    return _cleaned({(frozenset(), NONE): np.asarray(array)})


def plus(a: Value, b: Value) -> Value:
    """Add."""
    terms = dict(a.terms)
    for term, factor in b.terms.items():
        _accumulate(terms, term, factor)
    return _cleaned(terms)


def minus(a: Value, b: Value) -> Value:
    """Subtract."""
    return plus(a, scaled(b, -1.0))


def scaled(a: Value, factor: Any) -> Value:
    """Multiply by a constant."""
    return _cleaned({term: own * factor for term, own in a.terms.items()})


def same(a: Value, b: Value, close: float = CLOSE) -> bool:
    """Say whether two values are one, up to the rounding of their constants."""
    top = max((float(np.abs(f).max(initial=0)) for f in (*a.terms.values(), *b.terms.values())), default=0.0)
    return all(float(np.abs(f).max(initial=0)) <= close * top for f in _difference(a, b))


def _difference(a: Value, b: Value) -> Iterator[Array]:
    for term in {*a.terms, *b.terms}:
        x, y = a.terms.get(term, np.zeros(())), b.terms.get(term, np.zeros(()))
        try:
            yield x - y
        except ValueError:  # they do not even broadcast
            yield np.full((), np.inf)


def _alike(a: Value, b: Value, term: Term) -> bool:
    """Say whether b is a times a positive number, so that both compare alike."""
    if term not in a.terms or set(a.terms) != set(b.terms):
        return False
    x, y = a.terms[term], b.terms[term]
    try:
        ratio = y / x if np.all(x) else np.ones(())
        return bool(np.all(ratio > 0)) and same(scaled(a, ratio), b)
    except ValueError:
        return False


def _accumulate(terms: dict[Term, Array], term: Term, factor: Array) -> None:
    terms[term] = terms[term] + factor if term in terms else factor


def _cleaned(terms: Mapping[Term, Array]) -> Value:
    return Value({term: np.asarray(factor) for term, factor in terms.items() if np.any(factor)})
