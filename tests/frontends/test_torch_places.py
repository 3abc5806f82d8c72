"""A refusal names the user's own line, and says which option reads a network whose time lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikec.compiler.diagnostics import CompileError
from spikec.frontends.torch import lower
from spikec.frontends.torch.load import load_object
from tests.frontends.torch_networks import spikes

Golden = Callable[[str, str], None]
CODE = """
import sys
import snntorch as snn
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 3)
        self.lif = snn.Leaky(beta=0.5, init_hidden=True)

class TimeFirst(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(x[t])) for t in range(x.size(0))])

class BatchFirst(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(x[:, t])) for t in range(x.size(1))], 1)

class Selected(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(x.select(1, t))) for t in range(x.size(1))], 1)

class Unbound(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(step)) for step in x.unbind(1)], 1)

class Iterated(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(step)) for step in x])

class Permuted(TimeFirst):
    def forward(self, x):
        return super().forward(x.permute(1, 0, 2))

class Whole(Base):
    def forward(self, x):
        return self.lif(self.fc(x))

class Static(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(x)) for step in range(5)])

class OneSample(TimeFirst):
    def forward(self, x):
        return super().forward(x)[:, 0]

class Picked(TimeFirst):
    def forward(self, x):
        return super().forward(x[:, :, :16])[:, :, 1:]

def shifted(x):
    return torch.relu(
        x
    )

class Helped(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(shifted(step))) for step in x])

class Failing(Base):
    def forward(self, x):
        return torch.stack([self.lif(self.fc(step[:, :2])) for step in x.clone()])

class Leaving(Base):
    def forward(self, x):
        sys.exit("stop")

def double():
    return TimeFirst().double()

def half():
    return nn.Sequential(nn.Linear(16, 3), snn.Leaky(beta=0.5, init_hidden=True)).half()
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "net.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return "net.py"


def refused(spec: str, axis: int | None, example: Any) -> str:
    module = load_object(spec)
    with pytest.raises(CompileError) as caught:
        lower(module, example, time_axis=axis, source=spec)
    return str(caught.value)


EXAMPLE = torch.from_numpy(spikes(steps=5))  # (N, T, 16)


@pytest.mark.parametrize(
    ("name", "axis", "right"),
    [
        ("TimeFirst", 1, 0),
        ("BatchFirst", 0, 1),
        ("Selected", 0, 1),
        ("Unbound", 0, 1),
        ("Iterated", 1, 0),
        ("Permuted", 0, 1),
        ("TimeFirst", None, 0),
        ("BatchFirst", None, 1),
        ("Selected", None, 1),
        ("Unbound", None, 1),
        ("Iterated", None, 0),
    ],
)
def test_the_axis_that_forward_means_is_named_and_right(name: str, axis: int | None, right: int, file: str) -> None:
    example = EXAMPLE if right == 1 else EXAMPLE.swapaxes(0, 1)
    text = refused(f"{file}:{name}", axis, example)
    assert f"did you mean --time-axis {right} (in Python: time_axis={right})?" in text
    assert text.count("error[") == 1
    assert "(net.py:" in text
    lower(load_object(f"{file}:{name}"), example, time_axis=right)


def test_refusals_name_the_line(file: str, golden: Golden) -> None:
    swapped = EXAMPLE.swapaxes(0, 1)
    cases: list[tuple[str, int | None, Any]] = [
        ("TimeFirst", 1, EXAMPLE),
        ("BatchFirst", None, EXAMPLE),
        ("Whole", 0, EXAMPLE),
        ("Static", 0, EXAMPLE),
        ("OneSample", 0, swapped),
        ("Picked", 0, swapped),
        ("Helped", 0, swapped),
        ("Failing", 0, swapped),
        ("Leaving", 0, swapped),
        ("double", 0, swapped),
        ("half", None, EXAMPLE[:, 0]),
    ]
    golden("torch-places", "\n\n".join(refused(f"{file}:{name}", axis, example) for name, axis, example in cases))


def complexed(file: str) -> Any:
    module = load_object(f"{file}:TimeFirst")
    module.fc.weight = torch.nn.Parameter(module.fc.weight.to(torch.complex64))
    module.fc.bias = torch.nn.Parameter(module.fc.bias.to(torch.complex64))
    return module


def test_examples_and_weights_that_cannot_be_taken(file: str, golden: Golden) -> None:
    swapped = EXAMPLE.swapaxes(0, 1)
    net = f"{file}:Static"
    texts = [
        refused(net, 0, EXAMPLE[:, 0]),
        refused(net, None, EXAMPLE[:, 0, 0]),
        refused(net, 0, EXAMPLE[None, :, 0]),
        refused(net, 0, swapped.to(torch.complex64)),
        refused(net, 0, swapped.numpy().astype(np.complex128)),
        refused(net, 0, np.array(["a"])),
        refused(net, 0, [None]),
    ]
    with pytest.raises(CompileError) as caught:
        lower(complexed(file), swapped, source=net)
    golden("torch-examples", "\n\n".join([*texts, str(caught.value)]))


def test_a_sparse_example_is_made_dense(file: str) -> None:
    module, swapped = load_object(f"{file}:TimeFirst"), EXAMPLE.swapaxes(0, 1)
    assert str(lower(module, swapped.to_sparse())) == str(lower(module, swapped))


def test_an_example_of_the_network_s_own_precision_is_taken(file: str) -> None:
    swapped = EXAMPLE.swapaxes(0, 1)
    torch.manual_seed(0)
    single = lower(load_object(f"{file}:TimeFirst"), swapped)
    torch.manual_seed(0)
    double = lower(load_object(f"{file}:double"), swapped.double())
    assert [type(node.op) for node in double.nodes] == [type(node.op) for node in single.nodes]
