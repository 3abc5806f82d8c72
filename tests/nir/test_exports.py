"""What the frameworks export, read with `from`: the framework's own spikes, or the reason why not; and the guess."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import tensor

from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.driver.load import LoadOptions, load_model
from spikec.frontends.nir import NirOptions, lower
from spikec.frontends.nir.writers import WRITERS
from spikec.runtime.reference import Reference
from tests.nir import exports
from tests.nir.exports import Export
from tests.nir.files import affine, chain, lif

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Of nirtorch, about the function that the frameworks call."""

Make = Callable[[], Export]
Case = tuple[str, Make, dict[str, Any]]


def sinabs_of(kind: str, spike: str = "MultiSpike", reset: str = "MembraneSubtract", **options: Any) -> Export:
    act = exports.require("sinabs.activation")
    return exports.sinabs(kind, spike_fn=getattr(act, spike), reset_fn=getattr(act, reset)(), **options)


def norse_subtract() -> Export:
    reset = exports.require("norse.torch.functional.reset")
    return exports.norse(reset_method=reset.reset_subtract)


SNN, NORSE = exports.snntorch, exports.norse
CORRECTED: list[Case] = [
    *(
        (
            "snntorch",
            partial(SNN, kind, reset_mechanism=reset, reset_delay=delay),
            {"reset": "value" if reset == "zero" else None, "reset_delay": None if delay else False},
        )
        for kind in ("Leaky", "Synaptic", "RLeaky", "RSynaptic")
        for reset in ("subtract", "zero")
        for delay in (True, False)
        if delay or kind != "RSynaptic"  # snnTorch 1.0.0 fails there
    ),
    ("snntorch", partial(SNN, conv=True), {}),
    *(("norse", partial(NORSE, kind), {}) for kind in ("LIFBoxCell", "LIFCell", "IAFCell")),
    ("norse", partial(NORSE, dt=2.0**-9), {"dt": 2.0**-9}),
    ("norse", partial(NORSE, v_leak=tensor(0.25)), {}),
    ("norse", norse_subtract, {"reset": "subtract"}),
    ("sinabs", partial(sinabs_of, "LIF"), {}),
    ("sinabs", partial(sinabs_of, "LIF", tau_mem=10.0, norm_input=False), {"norm_input": False}),
    ("sinabs", partial(sinabs_of, "LIF", "SingleSpike", "MembraneReset"), {"spike": "single", "reset": "value"}),
    ("sinabs", partial(sinabs_of, "LIF", min_v_mem=-0.5), {"v_min": -0.5}),
    ("sinabs", partial(sinabs_of, "IAF"), {}),
    ("sinabs", partial(sinabs_of, "IAF", "SingleSpike", min_v_mem=-1.0), {"spike": "single", "v_min": -1.0}),
    ("rockpool", partial(exports.rockpool, tau_mem=0.02, tau_syn=0.01), {}),
    *(
        ("spikingjelly", partial(exports.spikingjelly, kind, v_reset=reset), {})
        for kind in ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode")
        for reset in (0.0, -0.5)
    ),
    ("spikingjelly", partial(exports.spikingjelly, decay_input=False), {}),
]
LOST: list[tuple[str, Make, str]] = [
    ("snntorch", partial(SNN, graded_spikes_factor=2.0), "graded spikes"),
    ("norse", partial(NORSE, v_reset=tensor(-0.5)), "v_reset"),
    ("sinabs", partial(sinabs_of, "LIF", tau_syn=3.0), "tau_syn"),
    ("rockpool", partial(exports.rockpool, bias=0.125), "bias of the neurons"),
]
"""What no option can bring back, and the word for it in the remark."""


def words(case: Any) -> str:
    """Name a case for its test."""
    if isinstance(case, partial):
        return "-".join(str(part) for part in (*case.args, *case.keywords.values()))
    return getattr(case, "__name__", None) or (case if isinstance(case, str) else "")


def differing(export: Export, options: NirOptions) -> tuple[int, list[Diagnostic]]:
    told: list[Diagnostic] = []
    spikes = Reference().run(lower(export.graph, options, remark=told.append), export.inputs).spikes
    return int(np.count_nonzero(spikes != export.spikes)), told


@pytest.mark.parametrize(("writer", "make", "options"), CORRECTED, ids=words)
def test_what_can_be_corrected_gives_the_frameworks_own_spikes(
    writer: Any, make: Make, options: dict[str, Any]
) -> None:
    """20,000 cells of the output, behind a hidden layer of 80,000: none differs, and the remark names the defects."""
    export = make()
    assert np.count_nonzero(export.spikes) > 50
    count, told = differing(export, NirOptions(writer=writer, **options))
    assert count == 0
    (said,) = [d for d in told if d.code == "nir/from"]
    assert WRITERS[writer].title in said.message


@pytest.mark.parametrize(("writer", "make", "field"), LOST, ids=words)
def test_what_is_lost_is_named_and_matters(writer: Any, make: Make, field: str) -> None:
    """A network that needs such a field runs otherwise, and the remark names it: when this fails, it was added."""
    count, told = differing(make(), NirOptions(writer=writer))
    assert count > 0
    assert any(d.code == "nir/from" and field in d.message.partition("Not in the file")[2] for d in told)


GUESSED: list[tuple[str, Make]] = [
    ("snntorch", SNN),
    ("snntorch", partial(SNN, "RLeaky")),
    ("snntorch", partial(SNN, "Synaptic")),
    ("norse", NORSE),
    ("norse", partial(NORSE, "LIFCell")),
    ("sinabs", partial(sinabs_of, "LIF")),
    ("sinabs", partial(sinabs_of, "IAF")),
    ("rockpool", exports.rockpool),
    ("spikingjelly", partial(exports.spikingjelly, "IFNode")),
]


@pytest.mark.parametrize(("writer", "make"), GUESSED, ids=words)
def test_the_writer_is_guessed(writer: str, make: Make) -> None:
    told: list[Diagnostic] = []
    graph = make().graph
    # Norse's time constants are shorter than a step, so that the guess stands before an error.
    with pytest.raises(CompileError, match="shorter than dt") if writer == "norse" else nullcontext():
        lower(graph, remark=told.append)
    (said,) = [d for d in told if d.code == "nir/writer"]
    assert f"from={writer}" in str(said)


def test_an_ordinary_file_gets_no_guess(tmp_path: Path) -> None:
    told: list[Diagnostic] = []
    lower(chain(tmp_path / "n.nir", affine(np.ones((3, 3))), lif()), remark=told.append)
    assert not [d for d in told if d.code == "nir/writer"]


def test_the_driver_takes_from_by_its_name(tmp_path: Path) -> None:
    """`nir={"from": ...}` and `--from` are one option; tau in steps reads as exp(-1/tau)."""
    file = chain(tmp_path / "n.nir", affine(np.ones((3, 3))), lif(tau=np.full(3, 2.0), r=np.ones(3)))
    graph = load_model(file, LoadOptions(nir={"from": "sinabs"})).graph
    op: Any = graph["1"].op
    assert op.a_mem == pytest.approx(np.exp(-0.5), abs=1e-15)
    assert (op.cmp, op.reset, op.spike) == (">=", "subtract", "multi")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"writer": "brian"}, "writer cannot be 'brian'"),
        ({"norm_input": False}, "norm_input belongs to from=sinabs"),
        ({"reset_delay": False, "writer": "norse"}, "reset_delay belongs to from=snntorch"),
        ({"writer": "norse", "method": "exponential"}, "from=norse fixes method"),
        ({"writer": "norse"}, "tau of LIF is 4e-07 in the file, which would be a decay of -1.5"),
        ({"writer": "rockpool"}, "the neurons do not agree on a time step"),
        ({"writer": "snntorch", "dt": -1.0}, "dt cannot be"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    tau = {"norse": np.full(3, 4e-7), "rockpool": np.array([4e-4, 5e-4, 7e-4])}.get(options.get("writer", ""))
    file = chain(tmp_path / "n.nir", affine(np.ones((3, 3))), lif() if tau is None else lif(tau=tau))
    with pytest.raises(CompileError, match=re.escape(message)):
        lower(file, NirOptions(**options))


def test_a_hole_in_the_graph_is_named() -> None:
    """A module that an exporter does not know becomes None in the graph: Norse's recurrent cells."""
    nir = pytest.importorskip("nir")
    ports = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    graph = nir.NIRGraph({**ports}, [("input", "1"), ("1", "output")], type_check=False)
    graph.nodes["1"] = None
    with pytest.raises(CompileError, match="the exporter had no NIR node for this module"):
        lower(graph)
