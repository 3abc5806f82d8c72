"""Fine-tuning: pruned weights in the module's own scale, zeros that no optimizer moves, runs that can be repeated."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spikec.compiler.context import Calibration, Context
from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Connection
from spikec.compiler.weights import Dense
from spikec.compiler.weights_grid import Grid
from spikec.driver.measure import runner
from spikec.frontends.torch import lower
from spikec.passes.finetune import FineTuning, Masked, carry, fine_tune, hold, install
from spikec.passes.fold import Fold
from spikec.passes.sbc import SBC
from tests.compiler.networks import fixed_graph

HERE = Path(__file__).resolve().parents[2] / "examples" / "digits"
FOLD = Fold(pools=False)


def example_file(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"finetune_digits_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Mixed(nn.Module):
    """Everything that folding multiplies weights by: batch normalisation (one gain 0, one negative), a mean pool."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.lif1 = snn.Leaky(beta=0.75)
        self.pool = nn.AvgPool2d(2)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)
        self.lif2 = snn.Leaky(beta=0.5)
        self.drop = nn.Dropout(0.2)
        self.rlif = snn.RLeaky(beta=0.5, linear_features=10)
        self.fc = nn.Linear(24, 10)
        with torch.no_grad():
            for bn in (self.bn1, self.bn2):
                bn.running_mean.normal_(0, 0.1)
                bn.running_var.uniform_(0.5, 2)
                bn.weight.uniform_(0.5, 2)
            self.bn1.weight[1], self.bn1.weight[2] = 0.0, -1.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Spikes (T, N, 2, 8, 8) in, spikes (T, N, 10) out."""
        mem1, mem2, (spk, mem) = self.lif1.init_leaky(), self.lif2.init_leaky(), self.rlif.init_rleaky()
        record = []
        for step in x:
            spk1, mem1 = self.lif1(self.bn1(self.conv1(step)), mem1)
            spk2, mem2 = self.lif2(self.bn2(self.conv2(self.pool(spk1))), mem2)
            spk, mem = self.rlif(self.fc(self.drop(spk2).flatten(1)), spk, mem)
            record.append(spk)
        return torch.stack(record)


def spikes(shape: tuple[int, ...]) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def mixed_batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    labels = torch.arange(8) % 10
    return [(spikes((4, 8, 2, 8, 8)), labels), (1 - spikes((4, 8, 2, 8, 8)), labels)]


def count_loss(made: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(made.sum(0), labels)


def read(module: nn.Module, example: torch.Tensor) -> Graph:
    return lower(module.eval(), example)


def pruned(graph: Graph, share: float = 0.7, *, shift: float = 0.05) -> Graph:
    """Zero the smallest weights of every layer and move the others, as a pass with compensation would."""

    def prune(node: Node) -> Node | None:
        if not isinstance(node.op, Connection):
            return None
        values = node.op.weight.decode().copy()
        rng = np.random.default_rng(values.size)
        gone = np.abs(values) < np.quantile(np.abs(values), share)
        moved = np.where(gone | (values == 0), 0, values + (shift * rng.normal(size=values.shape)).astype(values.dtype))
        return replace(node, op=replace(node.op, weight=Dense(moved.astype(values.dtype))))

    return graph.map(prune)


def weights(graph: Graph) -> dict[str, np.ndarray]:
    return {node.name: node.op.weight.decode() for node in graph if isinstance(node.op, Connection)}


def state(module: nn.Module) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in module.state_dict().items()}


def zeros_held(module: nn.Module, layers: dict[str, Masked]) -> None:
    parts = dict(module.named_modules())
    for path, layer in layers.items():
        held = parts[path].weight.detach().numpy()
        assert not held[~layer.keep].any(), path


@pytest.fixture
def mixed() -> tuple[nn.Module, Graph, Graph]:
    module = Mixed().eval()
    trained = read(module, spikes((4, 2, 2, 8, 8)))
    return module, trained, pruned(FOLD.run(trained, Context()))


def test_the_module_traced_again_is_the_pruned_graph(mixed: tuple[nn.Module, Graph, Graph]) -> None:
    module, trained, small = mixed
    layers = carry(trained, small)
    assert sorted(layers) == ["conv1", "conv2", "fc", "rlif.recurrent"]
    assert not layers["conv1"].keep[1].any()  # the dead row
    install(module, layers)
    again = weights(FOLD.run(read(module, spikes((4, 2, 2, 8, 8))), Context()))
    for name, wanted in weights(small).items():
        assert np.array_equal(again[name] == 0, wanted == 0), name
        assert np.allclose(again[name], wanted, rtol=1e-6, atol=0), name


def test_zeros_are_the_same_after_fine_tuning_and_statistics_are_frozen(mixed: tuple[nn.Module, Graph, Graph]) -> None:
    module, trained, small = mixed
    mean, gain = module.bn1.running_mean.clone(), module.bn1.weight.detach().clone()
    layers = carry(trained, small)
    fine_tune(module, layers, mixed_batches(), count_loss, FineTuning(epochs=2, lr=0.1, weight_decay=0.01))
    assert torch.equal(mean, module.bn1.running_mean)
    assert not torch.equal(gain, module.bn1.weight)
    again = weights(FOLD.run(read(module, spikes((4, 2, 2, 8, 8))), Context()))
    for name, wanted in weights(small).items():
        assert np.array_equal(again[name] == 0, wanted == 0), name
        assert not np.allclose(again[name], wanted, rtol=1e-6), name
    assert not module.training


def test_statistics_move_where_that_is_asked_for(mixed: tuple[nn.Module, Graph, Graph]) -> None:
    module, trained, small = mixed
    mean = module.bn1.running_mean.clone()
    fine_tune(module, carry(trained, small), mixed_batches(), count_loss, FineTuning(1, freeze_statistics=False))
    assert not torch.equal(mean, module.bn1.running_mean)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_masks_hold_through_any_optimizer_also_with_momentum_from_before(kind: str) -> None:
    torch.manual_seed(0)
    module, keep = nn.Linear(5, 4), np.eye(4, 5, dtype=bool)
    layers = {"": Masked(np.where(keep, 2.0, 0.0).astype(np.float32), keep)}
    made = OPTIMIZERS[kind](module.parameters())

    def step(bad: bool = False) -> None:
        made.zero_grad()
        value = module(torch.randn(3, 5)).square().sum()
        (value * float("nan") if bad else value).backward()
        if bad:
            assert module.weight.grad is not None
            assert not module.weight.grad[~torch.from_numpy(keep)].any()
        else:
            made.step()

    step()  # builds up momentum everywhere
    install(module, layers)
    with hold(module, layers):
        for _ in range(4):
            step()
            assert not module.weight[~torch.from_numpy(keep)].any()
        step(bad=True)
        assert module.weight[torch.from_numpy(keep)].ne(2).all()
    step()
    assert module.weight[~torch.from_numpy(keep)].any()  # the hold is over


def digits(kind: str = "net_soft") -> tuple[nn.Module, Any, DataLoader[Any]]:
    data, model = example_file("data"), example_file("model")
    module = getattr(model, kind)()
    module.load_state_dict(torch.load(HERE / ("digits_soft.pt" if kind == "net_soft" else "digits.pt")))
    train, test = data.split()
    pairs = TensorDataset(torch.from_numpy(train.spikes).float(), torch.from_numpy(train.labels))

    def collate(samples: list[Any]) -> Any:
        return torch.stack([x for x, _ in samples], 1), torch.stack([y for _, y in samples])

    return module, test, DataLoader(pairs, batch_size=64, shuffle=True, collate_fn=collate)


def right(module: nn.Module, part: Any) -> float:
    with torch.no_grad():
        counts = module(torch.from_numpy(part.spikes).float().transpose(0, 1)).sum(0)
    return float((counts.argmax(1).numpy() == part.labels).mean())


def test_real_digits_come_back_after_pruning() -> None:
    module, test, loader = digits()
    example = torch.from_numpy(test.spikes[:2]).float().transpose(0, 1)
    trained = read(module, example)
    small = pruned(FOLD.run(trained, Context()), 0.9, shift=0.0)
    layers = carry(trained, small)
    dense = right(module, test)
    install(module, layers)
    before = right(module, test)
    tuned = fine_tune(module, layers, loader, count_loss, FineTuning(epochs=2, lr=0.02))
    after = right(module, test)
    assert before < dense - 0.1
    assert after > before + 0.05
    assert tuned.losses[-1] < tuned.losses[0]
    again = weights(FOLD.run(read(module, example), Context()))
    for name, wanted in weights(small).items():
        assert np.array_equal(again[name] == 0, wanted == 0)


def test_what_sbc_prunes_is_carried_and_held() -> None:
    module, test, _ = digits()
    example = torch.from_numpy(test.spikes[:2]).float().transpose(0, 1)
    trained = read(module, example)
    context = Context(calibration=Calibration(test.spikes[100:140].astype(np.float32)), runner=runner())
    small = SBC(0.9, baselines=False, measure=0).run(FOLD.run(trained, Context()), context)
    layers = carry(trained, small)
    size = sum(layer.keep.size for layer in layers.values())
    assert abs(sum(np.count_nonzero(~layer.keep) for layer in layers.values()) - 0.9 * size) <= 1 + len(layers)
    fine_tune(module, layers, shuffled(), count_loss, FineTuning(1, lr=0.02))
    again = weights(FOLD.run(read(module, example), Context()))
    for name, wanted in weights(small).items():
        assert np.array_equal(again[name] == 0, wanted == 0)


def shuffled() -> DataLoader[Any]:
    """Few digits, in an order that is drawn."""
    _, test, _ = digits()
    pairs = TensorDataset(torch.from_numpy(test.spikes[:48]).float(), torch.from_numpy(test.labels[:48]))
    return DataLoader(pairs, batch_size=16, shuffle=True, collate_fn=lambda s: (
        torch.stack([x for x, _ in s], 1), torch.stack([y for _, y in s])))  # fmt: skip


def tune(checkpoint: Path | None = None, epochs: int = 3, seed: int = 0, **more: Any) -> tuple[nn.Module, Any]:
    module, test, _ = digits()
    trained = read(module, torch.from_numpy(test.spikes[:2]).float().transpose(0, 1))
    layers = carry(trained, pruned(FOLD.run(trained, Context()), 0.9))
    settings = FineTuning(epochs=epochs, lr=0.05, seed=seed)
    loss = more.pop("loss", count_loss)
    loader, generator = shuffled(), torch.get_rng_state()
    try:
        return module, fine_tune(module, layers, loader, loss, settings, checkpoint=checkpoint, **more)
    finally:
        assert torch.equal(generator, torch.get_rng_state())


def test_the_seed_says_what_comes_out_and_the_caller_keeps_his_own() -> None:
    torch.manual_seed(11)
    first, tuned = tune()
    torch.manual_seed(12)
    second, again = tune()
    assert state(first) == state(second)
    assert tuned == again
    assert state(tune(seed=1)[0]) != state(first)


class StopError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("stop", [StopError, KeyboardInterrupt])
def test_a_stopped_run_goes_on_from_its_checkpoint_and_ends_the_same(tmp_path: Path, stop: type[BaseException]) -> None:
    undisturbed, wanted = tune()
    calls, kept = [0], tmp_path / "tuning.pt"

    def stopping(made: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 5:  # in the middle of the second epoch
            raise stop
        return count_loss(made, labels)

    with pytest.raises(stop):
        tune(kept, loss=stopping)
    found: list[Diagnostic] = []
    resumed, tuned = tune(kept, report=found.append)
    assert [d.code for d in found] == ["finetune/resumed"]
    assert state(resumed) == state(undisturbed)
    assert tuned == wanted
    assert state(tune(kept)[0]) == state(undisturbed)  # all done: nothing is left to do
    assert [path.name for path in tmp_path.iterdir()] == ["tuning.pt"]


def test_a_checkpoint_that_is_not_this_runs_is_refused_and_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "tuning.pt"
    tune(kept, epochs=1)
    whole = kept.read_bytes()
    other, empty, thesis = whole, b"", b"a thesis"
    for content, say in ((other, "other weights"), (whole[:200], "cannot be read"), (empty, "read"), (thesis, "read")):
        kept.write_bytes(content)
        with pytest.raises(CompileError, match=f"finetune/checkpoint(.|\n)*{say}"):
            tune(kept, epochs=1, seed=int(content is other))
        assert kept.read_bytes() == content
    torch.save({"weight": torch.zeros(2)}, kept)
    with pytest.raises(CompileError, match="no checkpoint of a fine-tuning"):
        tune(kept, epochs=1)


def refused(module: nn.Module, layers: dict[str, Masked], loader: Any, loss: Any = count_loss, **more: Any) -> str:
    """Fine-tune in vain; give what is said, and see that the module and its mode are as before."""
    before, mode = state(module), module.training
    with pytest.raises(CompileError) as error:
        fine_tune(module, layers, loader, loss, FineTuning(epochs=1), **more)
    assert state(module) == before
    assert module.training == mode
    assert all(p.grad is None for p in module.parameters())
    return str(error.value)


def test_what_does_not_fit_is_told_all_at_once(
    mixed: tuple[nn.Module, Graph, Graph], golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    module, trained, small = mixed
    layers = dict(carry(trained, small))
    wrong = {**layers, "conv9": layers["conv1"], "conv2": layers["conv1"], "lif1": layers["fc"]}
    tied = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    tied["b"].weight = tied["a"].weight
    ones, half = np.ones((2, 2), np.float32), np.eye(2, dtype=np.float32)
    calls = [0]

    def nan_at_two(made: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return count_loss(made, labels) * (float("nan") if calls[0] == 2 else 1)

    class Short(list[Any]):
        def __len__(self) -> int:
            return 9

    said = [
        refused(module, wrong, mixed_batches()),
        refused(tied, {"a": Masked(ones, ones > 0), "b": Masked(half, half > 0)}, mixed_batches()),
        refused(module, layers, mixed_batches(), nan_at_two),
        refused(module, layers, mixed_batches(), lambda made, _: made.detach().sum()),
        refused(module, layers, mixed_batches(), lambda made, _: made.sum(0)),
        refused(module, layers, mixed_batches(), lambda made, _: 0.5),
        refused(module, layers, iter(mixed_batches())),
        refused(module, layers, []),
        refused(module, layers, Short(mixed_batches())),
        refused(module, layers, [(1, 2, 3)]),
        refused(module, layers, mixed_batches(), checkpoint=tmp_path / "no" / "tuning.pt"),
    ]
    golden("finetune_refused", "\n\n".join(said).replace(str(tmp_path), "PATH"))


def test_graphs_that_cannot_be_carried_are_told(
    mixed: tuple[nn.Module, Graph, Graph], golden: Callable[[str, str], None]
) -> None:
    _, trained, small = mixed

    def edited(name: str, **fields: Any) -> Graph:
        return small.map(lambda n: replace(n, op=replace(n.op, **fields)) if n.name == name else None)

    dead = weights(small)["conv1"].copy()
    dead[1, 0, 0, 0] = 1
    said = []
    for pair in (
        (trained, pruned(Fold().run(trained, Context()))),
        (trained, Graph(small.nodes[:0])),
        (trained, fixed_graph()),
        (trained, edited("fc", weight=Grid(np.eye(10, 24, dtype=np.int64), 0.5, 4))),
        (trained, edited("fc", bias=np.zeros(10, np.float32))),
        (trained, edited("conv1", weight=Dense(dead))),
        (trained.map(lambda n: replace(n, origin=replace(n.origin, path=""))),
         small.map(lambda n: replace(n, origin=replace(n.origin, path="")))),
    ):  # fmt: skip
        with pytest.raises(CompileError) as error:
            carry(*pair)
        said.append(str(error.value))
    golden("finetune_carry", "\n\n".join(said))


def test_an_unpruned_graph_masks_nothing_and_a_pruned_one_its_zeros_again() -> None:
    module = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.5, init_hidden=True))

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.layers[1].reset_hidden()
            return torch.stack([self.layers(step) for step in x])

    net = Steps()
    trained = read(net, spikes((3, 2, 4)))
    assert not carry(trained, trained)
    layers = carry(trained, pruned(trained, 0.5, shift=0))
    install(net, layers)
    again = read(net, spikes((3, 2, 4)))
    assert np.array_equal(carry(again, again)["layers.0"].keep, layers["layers.0"].keep)


def test_a_layer_that_no_gradient_reaches_is_a_warning(mixed: tuple[nn.Module, Graph, Graph]) -> None:
    module, trained, small = mixed
    module.conv1.weight.requires_grad_(False)
    found: list[Diagnostic] = []
    fine_tune(module, carry(trained, small), mixed_batches(), count_loss, FineTuning(1), report=found.append)
    assert [(d.code, d.where) for d in found] == [("finetune/not-trained", "conv1")]
    zeros_held(module, dict(carry(trained, small)))


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"momentum": 1.0}, {"weight_decay": -1.0}, {"warm_up": 1.0}],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FineTuning(**wrong)
