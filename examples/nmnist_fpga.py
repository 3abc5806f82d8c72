"""A fully connected network on N-MNIST recordings, dense or N:M, trained, compiled for an FPGA board and verified.

    python examples/nmnist_fpga.py --data ../shared/data/nmnist --layers 3 --structure 2:4 --bits 8

Events are summed over 2 x 2 pixels (17 x 17 x 2 inputs), in bins of 10 ms, 30 steps. An N:M network is trained dense
first; then the largest N of every M weights along the outputs are kept, and it is trained again with the others at 0.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import snntorch as snn
import torch
from snntorch import surrogate
from torch import nn

import spikec
from spikec.compiler.artifact import Artifact
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Linear
from spikec.compiler.weights import Dense
from spikec.compiler.weights_nm import NM

STEPS = 30
BIN_US = 10_000
SIDE = 17
SIZES = {2: (2 * SIDE * SIDE, 128, 10), 3: (2 * SIDE * SIDE, 128, 64, 10)}


class Part(NamedTuple):
    """Recordings: spikes (N, T, 578) of 0 and 1, labels (N,)."""

    spikes: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read(path: Path, count: int | None = None) -> Part:
    """Bin a file of recordings: 1 where at least one event fell on a pixel of 17 x 17 in a bin."""
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}  # the file itself unpacks an array at every use
    labels = data["labels"][:count].astype(np.int64)
    spikes = np.zeros((len(labels), STEPS, 2, SIDE, SIDE), np.uint8)
    for n in range(len(labels)):
        own = slice(data["offsets"][n], data["offsets"][n + 1])
        step = data["t_us"][own] // BIN_US
        kept = step < STEPS
        spikes[n, step[kept], data["p"][own][kept], data["y"][own][kept] // 2, data["x"][own][kept] // 2] = 1
    return Part(spikes.reshape(len(labels), STEPS, -1), labels)


class Net(nn.Module):
    """Fully connected layers of leaky integrate-and-fire neurons."""

    def __init__(self, sizes: tuple[int, ...], reset: str) -> None:
        super().__init__()
        pairs = list(pairwise(sizes))
        self.fc = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        made = [snn.Leaky(0.9, reset_mechanism=reset, spike_grad=surrogate.fast_sigmoid(10)) for _ in pairs]
        self.lif = nn.ModuleList(made)

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Spikes (T, N, 578) in, spikes (T, N, 10) out."""
        states = [lif.init_leaky() for lif in self.lif]
        record = []
        for step in spikes:
            x = step
            for k, (fc, lif) in enumerate(zip(self.fc, self.lif, strict=True)):
                x, states[k] = lif(fc(x), states[k])
            record.append(x)
        return torch.stack(record)


def mask(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Give 1 at the n largest of every m consecutive weights along the outputs."""
    rows, columns = weight.shape
    padded = torch.zeros(-(-rows // m) * m, columns)
    padded[:rows] = weight.detach().abs()
    order = padded.reshape(-1, m, columns).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (order < n).float().reshape(-1, columns)[:rows]


def train(
    part: Part, sizes: tuple[int, ...], reset: str, structure: tuple[int, int] | None, epochs: int, seed: int = 0
) -> Net:
    """Train a network, the second half of the epochs under its masks if it is N:M."""
    torch.manual_seed(seed)
    model = Net(sizes, reset)
    spikes = torch.from_numpy(part.spikes).float().transpose(0, 1).contiguous()
    labels = torch.from_numpy(part.labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(labels) // 50))
    masks: list[torch.Tensor] = []
    for epoch in range(epochs):
        if structure is not None and epoch == epochs // 2:
            masks = [mask(fc.weight, *structure) for fc in model.fc]
        for chosen in torch.randperm(len(labels)).split(50):
            counts = model(spikes[:, chosen]).sum(0)
            loss = nn.functional.cross_entropy(counts, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for fc, kept in zip(model.fc, masks, strict=False):
                    fc.weight *= kept
    return model


def encoded(graph: Graph, structure: tuple[int, int] | None) -> Graph:
    """Say of every fully connected layer that its weights are N:M along the outputs."""

    def change(node: Node) -> Node | None:
        if structure is None or not isinstance(node.op, Linear):
            return None
        weight = NM(Dense(node.op.weight.decode()), *structure)
        return Node(node.name, Linear(weight, node.op.bias), node.inputs, node.origin)

    return graph.map(change)


def compile_for(model: Net, part: Part, structure: tuple[int, int] | None, bits: int, board: str) -> Artifact:
    """Compile a trained network."""
    example = torch.from_numpy(part.spikes[:2]).float().transpose(0, 1)
    graph = encoded(spikec.load(model, example=example), structure)
    given = (part.spikes[:64].astype(np.int32), part.labels[:64])
    return spikec.compile(graph, f"fpga:{board}", f"quantize{{bits={bits}}}", calibrate=given)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on N-MNIST, compile for an FPGA, verify.")
    parser.add_argument("--data", type=Path, required=True, help="folder of train.npz and test.npz")
    parser.add_argument("--layers", type=int, choices=(2, 3), default=2)
    parser.add_argument("--structure", metavar="N:M", help="dense if not given")
    parser.add_argument("--reset", choices=("zero", "subtract"), default="zero")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--board", default="ulx3s-85f")
    parser.add_argument("-o", "--output", type=Path, help="where to write the artifact")
    words = parser.parse_args()
    n, _, m = (words.structure or "").partition(":")
    structure = (int(n), int(m)) if m else None
    learn, test = read(words.data / "train.npz"), read(words.data / "test.npz")
    model = train(learn, SIZES[words.layers], words.reset, structure, words.epochs)
    artifact = compile_for(model, learn, structure, words.bits, words.board)
    if words.output:
        artifact.write(words.output)
    fit = artifact.facts["fpga"]
    print(f"{fit['blocks'][0]} block memories, {fit['cycles_a_step']} cycles a step")
    for rung in spikec.verify(artifact, inputs=test.spikes.astype(np.int32), labels=test.labels):
        state = rung.skipped or rung.error or f"{rung.agreement.differing} of {rung.agreement.cells} differ"
        print(f"{rung.name:18} {state}; {rung.correct} of {rung.samples} right")


if __name__ == "__main__":
    main()
