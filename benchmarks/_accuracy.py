"""What formats of weights cost and lose on real recordings: trained, compiled, run in the spike-core simulator.

N-MNIST from $SPIKEC_DATA (or ../shared/data) as examples/nmnist_fpga.py reads and trains it; scikit-learn's digits
where that is not there. Trained networks are kept in build/bench/models, by what they were trained with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from spikec.backends.fpga.boards import BOARDS
from spikec.backends.fpga.costs import totals
from spikec.backends.fpga.layers import Choice, build, layers_of
from spikec.compiler.artifact import Artifact
from spikec.compiler.ops import Output
from spikec.compiler.serialize import loads
from spikec.compiler.weights import Array
from spikec.runtime.cycle import CycleSimulator
from spikec.runtime.engine import Engine
from spikec.runtime.ladder import winners

ROOT = Path(__file__).resolve().parents[1]
KEPT = Path("build/bench/models")
BOARD, LANES, TESTS = "ulx3s-85f", 16, 100
FORMATS: tuple[tuple[tuple[int, int] | None, int], ...] = (
    (None, 8),
    ((2, 4), 8),
    ((2, 4), 4),
    ((1, 4), 8),
    ((1, 4), 4),
)


@dataclass(frozen=True)
class Data:
    """Recordings to learn and to test on, and the sizes of the network's layers."""

    name: str
    learn: Any
    test: Any
    sizes: tuple[int, ...]


@dataclass
class Accuracy:
    """One format: bits of its weight memories, block memories, cycles a recording; recordings right, one a seed."""

    format: str
    weight_bits: int = 0
    blocks: int = 0
    cycles: float = 0.0
    trained: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)


def measure_formats(seeds: int, epochs: int) -> tuple[str, list[Accuracy]]:
    """Train every structure once a seed, put it on every width of weights, and measure it.

    Returns:
        What was measured, in words; the rows.
    """
    example = _module(ROOT / "examples" / "nmnist_fpga.py")
    data = _data(example)
    rows = []
    for structure, bits in FORMATS:
        name = "dense" if structure is None else "{}:{}".format(*structure)
        row = Accuracy(f"{name} int{bits}")
        spent = []
        for seed in range(seeds):
            model = trained(example, data, structure, (epochs, seed))
            row.trained.append(_right(_float_outputs(model, data.test.spikes), data.test.labels))
            made = example.compile_for(model, data.learn, structure, bits, BOARD)
            spent.append(_measure(row, made, data))
        row.cycles = float(np.mean(spent))
        rows.append(row)
    what = f"{data.name}, {'-'.join(map(str, data.sizes))}, {len(data.test.labels)} recordings"
    steps = data.test.spikes.shape[1]
    return f"{what} of {steps} steps, {LANES} lanes a layer, {seeds} trainings of {epochs} epochs each", rows


def show(rows: list[Accuracy]) -> None:
    """Print the table."""
    print(f"{'format':12} {'Kb':>8} {'EBR':>5} {'cycles a recording':>19}  trained / right on the core")
    for row in rows:
        pairs = ", ".join(f"{a}/{b}" for a, b in zip(row.trained, row.right, strict=True))
        print(f"{row.format:12} {row.weight_bits / 1024:8.0f} {row.blocks:5d} {row.cycles:19.0f}  {pairs}")


def trained(example: ModuleType, data: Data, structure: tuple[int, int] | None, how: tuple[int, int]) -> Any:
    """Give a network trained for some epochs from a seed: one that was kept, if nothing that it comes from changed."""
    text = Path(str(example.__file__)).read_text(encoding="utf-8")
    key = hashlib.sha256(repr((text, data.sizes, structure, how, torch.__version__)).encode())
    key.update(data.learn.spikes.tobytes())
    path = KEPT / f"{key.hexdigest()[:32]}.pt"
    if path.is_file():
        model = example.Net(data.sizes, "zero")
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    model = example.train(data.learn, data.sizes, "zero", structure, *how)
    KEPT.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(model.state_dict(), part)
    part.replace(path)
    return model


def _measure(row: Accuracy, made: Artifact, data: Data) -> float:
    """Run the test recordings on the design of the artifact's network, the same lanes for all; give cycles of one."""
    graph = loads(made.files["graph.spk"])
    design = build(graph, [Choice(LANES)] * len(layers_of(graph)))
    done = CycleSimulator(design).run(data.test.spikes)
    reference = Engine().run(graph, data.test.spikes.astype(np.int32)).outputs[graph.of(Output)[0].name]
    if not np.array_equal(done.outputs, reference):
        raise SystemExit(f"{row.format}: simulator and engine differ")
    row.weight_bits = sum(core.weight_words * core.weight_word_bits for core in design.cores)
    row.blocks = totals(design, BOARDS[BOARD])[0]
    row.right.append(_right(done.outputs, data.test.labels))
    return float(done.stream_cycles.mean())


def _float_outputs(model: Any, spikes: Array) -> Array:
    with torch.no_grad():
        made: Array = model(torch.from_numpy(spikes).float().transpose(0, 1)).transpose(0, 1).numpy()
    return made


def _right(outputs: Array, labels: Array) -> int:
    return int(np.count_nonzero(winners(outputs) == labels))


def _data(example: ModuleType) -> Data:
    folder = Path(os.environ.get("SPIKEC_DATA", ROOT.parent / "shared" / "data")) / "nmnist"
    if (folder / "train.npz").is_file():
        learn, test = example.read(folder / "train.npz"), example.read(folder / "test.npz", TESTS)
        return Data("N-MNIST", learn, test, example.SIZES[2])
    print(f"no N-MNIST at {folder} (set SPIKEC_DATA): digits instead")
    parts = _module(ROOT / "examples" / "digits" / "data.py").split()
    flat = [example.Part(part.spikes.reshape(*part.spikes.shape[:2], -1), part.labels) for part in parts]
    return Data("digits", flat[0], example.Part(*(array[:TESTS] for array in flat[1])), (64, 128, 10))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
