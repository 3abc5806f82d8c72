"""Checks that every neuron is handed its own states of the step before, and finds the states that it starts from."""

from __future__ import annotations

from collections.abc import Callable

from spikec.compiler.diagnostics import CompileError, fail
from spikec.frontends.torch.folding import Folded
from spikec.frontends.torch.registry import adapter_of
from spikec.frontends.torch.values import Call, Const, Expr, Port, Ref, Unknown


def check_states(folded: Folded, initial: Callable[[Call, str, Expr], None]) -> None:
    """Check that every neuron is handed its own state of the step before; `initial` is given what starts it.

    Raises:
        CompileError: `torch/state`: a state that is something else.
    """
    for calls in folded.calls.values():
        for call in calls:
            for state, value in call.state.items():
                if value is not None:
                    _check_state(call, state, value, folded.name, initial)
                elif call.index and not _keeps(call, state):
                    raise _forgets(call, folded.name)


def _check_state(
    call: Call, state: str, value: Expr, name: Callable[[str], str], initial: Callable[[Call, str, Expr], None]
) -> None:
    if isinstance(value, Const) and call.index == 0:
        initial(call, state, value)
        return
    own = isinstance(value, Ref) and value.call.path == call.path and value.call.index == call.index - 1
    if own and isinstance(value, Ref) and value.port == _port(call, state):
        return
    raise _not_own(call, state, value, name)


def _keeps(call: Call, state: str) -> bool:
    """Say whether a module keeps a state in itself from call to call."""
    adapter = adapter_of(call.module)
    return adapter is not None and state in adapter.held(call.module)


def _forgets(call: Call, name: Callable[[str], str]) -> CompileError:
    adapter = adapter_of(call.module)
    assert adapter is not None
    reason, help = adapter.forgets
    return fail("torch/state", f"step {call.index} is given no state, {reason}", name(call.path), help)


def _port(call: Call, state: str) -> Port:
    adapter = adapter_of(call.module)
    assert adapter is not None
    return adapter.states(call.module)[state]


def _not_own(call: Call, state: str, value: Expr, name: Callable[[str], str]) -> CompileError:
    what = (
        "a constant"
        if isinstance(value, Const)
        else "something unknown"
        if isinstance(value, Unknown)
        else "another value"
    )
    return fail(
        "torch/state",
        f"step {call.index} is given {what} as '{state}', not its own '{state}' of the step before",
        name(call.path),
        "hand a neuron the states that it returned, unchanged",
    )
