"""Loading FILE.py:OBJECT and its weights: what fits is loaded, and every misfit is one clear diagnostic."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from spikec.compiler.diagnostics import CompileError, Diagnostic, Severity
from spikec.frontends.torch.load import load_object

Golden = Callable[[str, str], None]
CODE = """
import snntorch as snn
from torch import nn
from beside import SIZE

class Net(nn.Module):
    def __init__(self, reset="subtract"):
        super().__init__()
        self.fc = nn.Linear(SIZE, 2)
        self.lif = snn.Leaky(beta=0.5, reset_mechanism=reset)

def hard():
    return Net("zero")

def broken():
    raise RuntimeError("no data")

def leaves():
    raise SystemExit

def numbers():
    return [1]

def needs(size):
    return Net()

ready = Net()
number = 3
"""
BAD = {
    "missing": "import not_installed_anywhere\n",
    "exits": "import sys\n\nsys.exit(5)\n",
    "raises": "\ndef work():\n    raise RuntimeError('no data')\n\nwork()\n",
    "syntax": "x = 1\ndef f(:\n",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("SIZE = 3\n")
    monkeypatch.chdir(tmp_path)
    return "net.py"


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(CompileError) as caught:
        load_object(*arguments, **options)
    return str(caught.value)


def saved(content: Any, name: str = "weights.pt") -> Path:
    torch.save(content, name)
    return Path(name)


@pytest.mark.parametrize("name", ["Net", "hard", "ready"])
def test_a_class_a_function_or_a_module(file: str, name: str) -> None:
    module = load_object(f"{file}:{name}")
    assert type(module).__name__ == "Net"
    assert module.lif.reset_mechanism == ("zero" if name == "hard" else "subtract")


@pytest.mark.parametrize("prefix", ["", "model.", "module.net."])
@pytest.mark.parametrize("nested", [False, True])
def test_weights_plain_nested_and_under_a_prefix(file: str, prefix: str, nested: bool) -> None:
    source = load_object(f"{file}:Net")
    state = {prefix + key: value + 1 for key, value in source.state_dict().items() if "reset" not in key}
    state[prefix + "lif.mem"] = torch.ones(4, 2)  # some versions of snnTorch save the hidden state
    module = load_object(f"{file}:Net", saved({"state_dict": state, "epoch": 3} if nested else state))
    for key, value in source.state_dict().items():
        assert torch.equal(module.state_dict()[key], value + ("reset" not in key))
    assert module.lif.mem.numel() == 0


def test_what_is_no_network(file: str, golden: Golden) -> None:
    Path("folder.py").mkdir()
    specs = ["net.py", "none.py:Net", "folder.py:Net", f"{file}:nothing", f"{file}:number", f"{file}:numbers"]
    specs += [f"{file}:broken", f"{file}:needs", f"{file}:leaves"]
    for name, code in BAD.items():
        Path(f"{name}.py").write_text(code)
    golden("torch-load-object", "\n\n".join(refused(spec) for spec in [*specs, *(f"{name}.py:net" for name in BAD)]))


def test_a_key_press_stops_the_command(file: str) -> None:
    Path("stopped.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_object("stopped.py:net")


def test_a_built_network_without_weights_is_warned_of(file: str, golden: Golden) -> None:
    told: list[Diagnostic] = []
    for name in ("Net", "hard", "ready"):
        load_object(f"{file}:{name}", remark=told.append)
    assert {d.severity for d in told} == {Severity.WARNING}
    golden("torch-no-weights", "\n\n".join(map(str, told)))
    told.clear()
    load_object(f"{file}:Net", saved(load_object(f"{file}:Net").state_dict()), remark=told.append)
    assert not told


def test_weights_that_do_not_fit(file: str, golden: Golden) -> None:
    state = dict(load_object(f"{file}:Net").state_dict())
    wrong = {key: value for key, value in state.items() if key != "fc.bias"}
    wrong |= {"fc.weight": torch.zeros(5, 3), "head.weight": torch.zeros(1), "lif.reset_mechanism_val": torch.tensor(1)}
    Path("noise.pt").write_bytes(b"no weights at all")
    Path("cut.pt").write_bytes(saved(state, "whole.pt").read_bytes()[:500])
    texts = [
        refused(f"{file}:Net", saved(wrong)),
        refused(f"{file}:Net", saved([1, 2], "list.pt")),
        refused(f"{file}:Net", Path("absent.pt")),
        refused(f"{file}:Net", Path()),
        refused(f"{file}:Net", saved(torch.nn.Linear(3, 2), "module.pt")),
    ]
    Path("empty.pt").touch()
    texts.append(refused(f"{file}:Net", Path("empty.pt")))
    golden("torch-load-weights", "\n\n".join(texts))
    for damaged in ("noise.pt", "cut.pt"):
        assert "torch/load-weights" in refused(f"{file}:Net", Path(damaged))


def changed(state: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {key: change(value) for key, value in state.items()}


def meta(value: torch.Tensor) -> torch.Tensor:
    return value.to("meta")


def quantized(value: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8)


KINDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "whole": lambda value: (value * 100).to(torch.int32),
    "bool": lambda value: value > 0,
    "sparse": lambda value: value.to_sparse(),
    "complex": lambda value: value.to(torch.complex64),
    "meta": meta,
    "quantized": quantized,
}


def test_weights_that_are_no_plain_real_tensors(file: str, golden: Golden) -> None:
    state = dict(load_object(f"{file}:Net").state_dict())
    state["lif.reset_mechanism_val"] = torch.tensor(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch on its own quantized tensors
        texts = [refused(f"{file}:Net", saved(changed(state, KINDS[name]), f"{name}.pt")) for name in KINDS]
    state |= {"lif.reset_mechanism_val": torch.tensor(100)}
    texts.append(refused(f"{file}:Net", saved(state, "reset.pt")))
    golden("torch-weight-kinds", "\n\n".join(texts))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_of_another_precision_are_taken(file: str, dtype: torch.dtype) -> None:
    state = dict(load_object(f"{file}:Net").state_dict())
    module = load_object(f"{file}:Net", saved(changed(state, lambda value: value.to(dtype))))
    assert torch.equal(module.fc.weight, state["fc.weight"].to(dtype).float())


def test_weights_that_may_not_be_read(file: str, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    path = saved(load_object(f"{file}:Net").state_dict())
    monkeypatch.setattr(torch, "load", load)
    golden("torch-weights-denied", refused(f"{file}:Net", path))


class Trap:
    """A pickle that would run code."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("trapped"),))


def test_weights_never_run_code_unless_asked(file: str) -> None:
    state = dict(load_object(f"{file}:Net").state_dict())
    path = saved({"state_dict": state, "extra": Trap()})
    assert "--unsafe-weights" in refused(f"{file}:Net", path)
    assert not Path("trapped").exists()
    load_object(f"{file}:Net", path, unsafe=True)
    assert Path("trapped").exists()
