"""The fpga backend: checks a fixed graph against the spike core and a board, maps it, and emits memories and RTL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from operator import index
from typing import Any

from spikec.backends.fpga.boards import Board
from spikec.backends.fpga.check import findings
from spikec.backends.fpga.costs import design_cost, totals
from spikec.backends.fpga.layout.image import image_bytes, write
from spikec.backends.fpga.layout.memories import mem_files, segments
from spikec.backends.fpga.layout.reader import read_cores
from spikec.backends.fpga.like import map_like
from spikec.backends.fpga.mapping import Mapped, choose
from spikec.backends.fpga.top import rtl_files
from spikec.compiler.artifact import Artifact
from spikec.compiler.cores import COUNT_BITS, Design, Link, Memories, load_cycles
from spikec.compiler.diagnostics import CompileError, Diagnostic, Severity, fail
from spikec.compiler.fixed import FixedNeuron, fpga_arithmetic
from spikec.compiler.ir import Graph
from spikec.compiler.serialize import dumps
from spikec.compiler.target import Target

STATE_BITS = 16

TARGET = Target(
    "fpga",
    arithmetic=fpga_arithmetic(STATE_BITS),
    even_mixed=False,
    exponents=(0, 0),
    threshold_max=(1 << (STATE_BITS - 1)) - 1,
    bias_max=(1 << (STATE_BITS - 1)) - 1,
    bias_exponents=(0, 0),
    latency=0,
    max_delay=0,
    message_bits=0,
    soft_reset=True,
    ge=True,
    v_init=True,
    synapse=False,
    one_sign=False,
)
"""What `quantize` puts a network on: weights of 2 to 8 bits, thresholds and biases as wide as the membrane."""

GRAPH = "graph.spk"
IMAGE = "image.bin"
DESIGN = "design.json"
DESIGN_FORMAT = 1


@dataclass(frozen=True)
class FpgaBackend:
    """Emits a network for the spike core on a board.

    `activity`: spikes a step that each node sends on the user's samples, by name; None takes a tenth of the neurons.
    `memories`: `baked` into the bitstream, or an `overlay` that takes `image.bin` over the link: any network of one
    geometry, without another synthesis. `like`: an overlay whose geometry is kept.
    `counts`: the spikes of each output neuron over a sample leave, not those of every step.
    """

    board: Board
    activity: Mapping[str, float] | None = None
    memories: Memories = "baked"
    like: Design | None = None
    counts: bool = False

    @property
    def name(self) -> str:
        """Name of the target."""
        return f"fpga:{self.board.name}"

    @property
    def description(self) -> str:
        """Say in one line what the target is."""
        return f"{self.board.title} ({self.board.part}): spike cores with their memories, in SystemVerilog"

    @property
    def target(self) -> Target:
        """What the passes need to know."""
        return replace(TARGET, name=self.name)

    def with_activity(self, activity: Mapping[str, float]) -> FpgaBackend:
        """Give the backend that maps for a measured activity."""
        return replace(self, activity=activity)

    def check(self, graph: Graph) -> Iterator[Diagnostic]:
        """Yield every reason why the graph does not run on the spike core, or does not fit the board; and remarks."""
        found = [*findings(graph, self.target), *self._uncounted(graph)]
        yield from found
        if any(finding.severity is Severity.ERROR for finding in found):
            return
        try:
            self._mapped(graph)
        except CompileError as error:
            yield from error.diagnostics

    def emit(self, graph: Graph) -> Artifact:
        """Make the artifact; called only when `check` found no error.

        Files: `graph.spk`, `image.bin` and `mem/*.mem` (the memories, docs/fpga-layout.md; no `mem/` in an overlay),
        `design.json` (cores and links) and `rtl/*.sv`. Facts: the cores with their memories and cycles, the board's
        use, bits on the target.
        """
        mapped = self._mapped(graph)
        design = mapped.design
        made = {GRAPH: dumps(graph), IMAGE: write(segments(design)), DESIGN: design_json(design)}
        if self.memories == "baked":
            made |= {f"mem/{name}": text.encode() for name, text in mem_files(design)}
        made |= {f"rtl/{name}": text.encode() for name, text in rtl_files(design).items()}
        return Artifact(self.name, made, self._facts(graph, mapped, made))

    def _uncounted(self, graph: Graph) -> Iterator[Diagnostic]:
        """Yield why the output cannot be counted, where that was asked for."""
        for node in graph.of(FixedNeuron) if self.counts else ():
            if isinstance(node.op, FixedNeuron) and node.op.readout == "membrane":
                message = "the output is read by its membrane; there are no spikes to count"
                yield Diagnostic("fpga/counts", message, node.where, "leave counts out: membranes leave at every step")
        if self.counts and self.like is not None and not self.like.count_bits:
            message = "the design that is kept sends the spikes of every step, not counts"
            yield Diagnostic("fpga/counts", message, graph.name, "compile that one for counts too")

    def _mapped(self, graph: Graph) -> Mapped:
        if self.like is not None:
            return map_like(graph, self.board, self.activity, self.like)
        count_bits = COUNT_BITS if self.counts else 0
        return choose(graph, self.board, self.activity, self.memories, count_bits=count_bits)

    def _facts(self, graph: Graph, mapped: Mapped, made: Mapping[str, bytes]) -> dict[str, Any]:
        return {
            "target": self.name,
            "latency": {node.name: 0 for node in graph},
            "outputs": {mapped.design.output: 0},
            "steps_of_latency": 0,
            "origins": {node.name: str(node.origin) for node in graph if str(node.origin)},
            "fpga": fit_report(mapped, self.board),
            "bits_on_target": bits_on_target(mapped.design),
        }


def bits_on_target(design: Design) -> dict[str, int]:
    """Give the bits that the target stores: weight banks and neuron memories in the FPGA, and the image as a file.

    Every weight of a dense or sparse layer is stored, the zeros included; of N:M weights the entries that are kept.
    """
    return {
        "weights": sum(core.banks * core.bank_words * core.weight_word_bits for core in design.cores),
        "neurons": sum(core.groups * core.neuron_word_bits for core in design.cores),
        "image": 8 * image_bytes(segments(design)),
    }


def fit_report(mapped: Mapped, board: Board) -> dict[str, Any]:
    """Give what was chosen and what it takes, as plain data."""
    design = mapped.design
    costs, _ = design_cost(design, board)
    cores = [
        {
            **asdict(cost),
            "layer": core.layer,
            "neurons": core.neurons,
            "lanes": core.lanes,
            "structure": f"{core.kept}:{core.block}" if core.block > 1 else "dense",
            "weight_bits": core.weight_words * core.weight_word_bits,
            "neuron_bits": core.groups * core.neuron_word_bits,
            "membrane_bits": core.groups * core.lanes * core.sum_bits,
            "walk_cycles": core.walk_cycles,
            "fire_cycles": core.fire_cycles,
        }
        for core, cost in zip(design.cores, costs, strict=True)
    ]
    blocks, luts, dsps = totals(design, board)
    return {
        "board": {"name": board.name, "title": board.title, "part": board.part, "family": board.family},
        "cores": cores,
        "blocks": [blocks, board.blocks],
        "luts_estimated": [luts, board.luts],
        "dsps": [dsps, board.dsps],
        "mhz_assumed": board.mhz,
        "count_bits": design.count_bits,
        "memories": design.memories,
        "load_cycles": load_cycles(image_bytes(segments(design))) if design.memories == "overlay" else 0,
        "activity": "measured on samples" if mapped.measured else "assumed: a tenth of the neurons",
        "spikes_a_step": [round(spikes, 3) for spikes in mapped.spikes],
        "cycles_a_step": [round(cycles, 1) for cycles in mapped.cycles],
    }


def design_json(design: Design) -> bytes:
    """Give what a design says beside the memories of its cores: names, links, shapes."""
    body = {
        "format": DESIGN_FORMAT,
        "name": design.name,
        "in_lanes": design.in_lanes,
        "input_shape": list(design.input_shape),
        "output_shape": list(design.output_shape),
        "output": design.output,
        "cores": [[core.name, core.layer] for core in design.cores],
        "links": [[list(link.sources), list(link.targets), link.depth] for link in design.links],
        "memories": design.memories,
        "count_bits": design.count_bits,
    }
    return (json.dumps(body, indent=1) + "\n").encode()


def design_of(artifact: Artifact) -> Design:
    """Give the design that an artifact deploys, every memory as `image.bin` holds it.

    Raises:
        CompileError: the artifact is not of an FPGA, or its image or design is damaged.
    """
    missing = [name for name in (IMAGE, DESIGN) if name not in artifact.files]
    if missing:
        message = f"the artifact is for '{artifact.target}' and has no {' or '.join(missing)}"
        raise fail("fpga/no-design", message, help="compile for a board: -t fpga:ulx3s-85f")
    try:
        body = json.loads(artifact.files[DESIGN])
        if body["format"] != DESIGN_FORMAT:
            message = f"the design has format {body['format']}, this spikec reads {DESIGN_FORMAT}"
            raise fail("fpga/version", message, DESIGN, "compile again")
        placed = read_cores(artifact.files[IMAGE], [(name, layer) for name, layer in body["cores"]], IMAGE)
        return Design(
            tuple(each.core for each in placed),
            tuple(Link(tuple(a), tuple(b), index(depth)) for a, b, depth in body["links"]),
            index(body["in_lanes"]),
            tuple(map(index, body["input_shape"])),
            tuple(map(index, body["output_shape"])),
            str(body["output"]),
            str(body["name"]),
            body.get("memories", "baked"),
            index(body.get("count_bits", 0)),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise fail("fpga/bad-design", f"not a design: {error!r}", DESIGN, "compile again") from error
