"""Learned N:M masks: the best N are found, what is exported is what was evaluated, runs repeat bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import nn

from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.compiler.ops import Connection
from spikec.compiler.weights_nm import NM
from spikec.frontends.torch import lower
from spikec.passes.spike_nm.train import (
    Distillation,
    Learning,
    Masks,
    Pattern,
    Schedule,
    Training,
    attach,
    mark,
    recalibrate,
    train,
)
from spikec.passes.spike_nm.train.settings import CREDITS, METHODS, Axis
from spikec.runtime.reference import Reference

ALL = {"skip_first": False, "skip_last": False}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """Two convolutions, batch normalisation and two linear layers; forward is a plain loop over time."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.lif1 = nn.Conv2d(2, 6, 3, padding=1), snn.Leaky(beta=0.75)
        self.conv2, self.bn, self.lif2 = nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), snn.Leaky(beta=0.5)
        self.fc1, self.lif3 = nn.Linear(32, 12), snn.Leaky(beta=0.5)
        self.fc2, self.lif4 = nn.Linear(12, 4), snn.Leaky(beta=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Spikes (T, N, 2, 5, 5) in, spikes (T, N, 4) out."""
        mems = [lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif3, self.lif4)]
        record = []
        for step in x:
            a, mems[0] = self.lif1(self.conv1(step), mems[0])
            b, mems[1] = self.lif2(self.bn(self.conv2(a)), mems[1])
            c, mems[2] = self.lif3(self.fc1(b.flatten(1)), mems[2])
            d, mems[3] = self.lif4(self.fc2(c), mems[3])
            record.append(d)
        return torch.stack(record)


def batches(number: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        ((torch.rand(4, 8, 2, 5, 5, generator=generator) < 0.4).float(), torch.arange(8) % 4) for _ in range(number)
    ]


def count_loss(made: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(made.sum(0), labels)


def masked(pattern: Pattern | None = None, learning: Learning | None = None, **more: Any) -> tuple[nn.Module, Masks]:
    net = Net()
    return net, attach(net, pattern or Pattern(1, 4, "out"), learning, **more)


def state(module: nn.Module) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (2, 8), (1, 8)])
def test_the_learned_mask_is_the_true_best_within_200_steps(n: int, m: int) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        worth = (torch.arange(1, m + 1) / m)[torch.randperm(m)]
        layer = nn.Linear(m, 1, bias=False)
        nn.init.ones_(layer.weight).requires_grad_(False)
        masks = attach(nn.Sequential(layer), Pattern(n, m), Learning(seed=seed), **ALL)
        optimizer = torch.optim.Adam(masks.parameter_groups(1e-3, 0.1))
        for step in range(200):
            masks.schedule(Schedule(sparse=0), step / 200)
            optimizer.zero_grad()
            (worth * (1 - layer.weight[0])).sum().backward()
            optimizer.step()
        masks.export()
        assert sorted(layer.weight[0].nonzero().flatten().tolist()) == sorted(worth.topk(n).indices.tolist())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", ["in", "out"])
def test_what_is_exported_is_what_was_evaluated_and_is_read_as_nm(method: Any, axis: Axis) -> None:
    paths = ["conv2", "fc1"]
    net, masks = masked(Pattern(2, 5, axis), Learning(method), layers=paths)
    train(masks, batches(), count_loss, Training(epochs=2, lr=0.01))
    masks.freeze()
    recalibrate(net, batches())
    x = batches(1)[0][0]
    with torch.no_grad():
        evaluated = net.eval()(x)
        assert torch.equal(evaluated, masks.export()(x))
    graph = lower(net, x)
    ops = {node.name: node.op for node in graph if isinstance(node.op, Connection)}
    assert [name for name, op in ops.items() if type(op.weight) is NM] == paths
    for path in paths:
        weight = ops[path].weight
        assert isinstance(weight, NM)
        assert (weight.n, weight.m, weight.axis) == (2, 5, axis)
        np.testing.assert_array_equal(weight.decode(), net.get_submodule(path).weight.detach().numpy())
    made = Reference().run(graph, x.transpose(0, 1).numpy()).spikes
    assert (made != evaluated.transpose(0, 1).numpy()).mean() < 0.02  # order of float sums


def test_an_exported_state_dict_is_the_plain_networks() -> None:
    _, masks = masked()
    exported = copy.deepcopy(masks.export())
    plain = Net()
    assert plain.state_dict().keys() == exported.state_dict().keys()
    plain.load_state_dict(exported.state_dict())
    mark(plain, masks.pattern, masks.layers)
    weights = [node.op.weight for node in lower(plain, batches(1)[0][0]) if isinstance(node.op, Connection)]
    assert [weight.encoding for weight in weights] == ["dense", "nm", "nm", "dense"]
    with pytest.raises(CompileError, match="spike-nm/structure"):
        mark(Net(), masks.pattern, masks.layers)


def test_a_step_has_one_mask_however_often_the_weight_is_used() -> None:
    net, masks = masked(learning=Learning(spread=1.0))
    mask = masks.layers["fc1"]
    net.train()
    drawn = [net.fc1.weight for _ in range(3)]
    assert drawn[0] is drawn[1] is drawn[2]
    (drawn[0].sum() + drawn[2].sum()).backward()
    again = net.fc1.weight
    assert not torch.equal(drawn[0], again)
    again.sum().backward()
    before = mask.draws
    count_loss(net(batches(1)[0][0]), batches(1)[0][1]).backward()
    assert mask.draws == before + 1
    held = net.fc1.weight
    assert held.requires_grad
    copy.deepcopy(net.fc1)


def test_gradients_reach_kept_weights_alone_or_all_with_the_decay_of_sr_ste() -> None:
    for learning, dense in ((Learning(), False), (Learning("sr-ste", decay=0.1), True), (Learning("random"), False)):
        net, _ = masked(learning=learning)
        net.train()
        used = net.fc1.weight
        used.sum().backward()
        weight = net.fc1.parametrizations.weight.original
        gone = used == 0
        wanted = torch.where(gone, 1 + 0.1 * weight if dense else torch.zeros(()), torch.ones(()))
        assert torch.allclose(weight.grad, wanted.detach())
    assert float(gone.float().mean()) == 0.75


def test_sr_ste_keeps_the_largest_and_a_random_mask_stays() -> None:
    net, masks = masked(Pattern(1, 4), Learning("sr-ste"), layers=["fc1"])
    blocks = net.fc1.parametrizations.weight.original.detach().abs().reshape(12, 8, 4)
    assert torch.equal(net.fc1.weight.detach().abs().reshape(12, 8, 4).amax(-1), blocks.amax(-1))
    net, masks = masked(learning=Learning("random"))
    before = net.fc1.weight != 0
    train(masks, batches(), count_loss, Training(epochs=1))
    assert torch.equal(net.fc1.weight != 0, before)


def test_a_prior_starts_from_the_largest_weights() -> None:
    net, _ = masked(Pattern(2, 4), Learning(prior=3.0), layers=["fc1"])
    plain = Net().fc1.weight.detach().abs().reshape(12, 8, 4)
    kept = net.eval().fc1.weight.reshape(12, 8, 4) != 0
    assert torch.allclose((plain * kept).sum(-1), plain.topk(2, -1).values.sum(-1))


def test_logits_have_their_own_rate_and_no_decay() -> None:
    _, masks = masked()
    own, logits = masks.parameter_groups(0.1, 0.2, 0.3)
    assert (own["lr"], own["weight_decay"], logits["lr"], logits["weight_decay"]) == (0.1, 0.3, 0.2, 0.0)
    assert {p.shape for p in logits["params"]} == {masks.layers[path].logits.shape for path in ("conv2", "fc1")}
    assert not {id(p) for p in own["params"]} & {id(p) for p in logits["params"]}


@pytest.mark.parametrize("credit", CREDITS)
def test_distillation_draws_logits_to_the_credits(credit: Any) -> None:
    net, masks = masked(Pattern(1, 4), Learning(distillation=Distillation(credit, beta=10.0)), layers=["fc1"])
    train(masks, batches(), count_loss, Training(epochs=10, logit_lr=0.1))
    mask = masks.layers["fc1"]
    assert float(mask.credit.max()) > 0
    p, q = torch.softmax(mask.logits.detach(), -1), mask.credit
    known = q.amax(-1) > 2 * q.mean(-1)
    agreeing = (p.argmax(-1) == q.argmax(-1))[known].float().mean()
    assert float(agreeing) > 0.6
    masks.export()
    net(batches(1)[0][0])


def test_eligibility_of_a_memory_of_one_step_is_the_gradient() -> None:
    made = []
    for credit in ("gradient", "eligibility"):
        _, masks = masked(learning=Learning(distillation=Distillation(credit, beta=0.0, tau=1.0)))  # type: ignore[arg-type]
        train(masks, batches(1), count_loss, Training(epochs=1))
        made.append([masks.layers[path].credit for path in ("conv2", "fc1")])
    for one, other in zip(*made, strict=True):
        assert float(one.max()) > 0
        assert torch.allclose(one, other, atol=1e-6)


def test_statistics_are_those_of_the_frozen_mask() -> None:
    net, masks = masked()
    train(masks, batches(), count_loss, Training(epochs=1))
    masks.freeze()
    weights = {name: p.clone() for name, p in net.named_parameters()}
    recalibrate(net, batches())
    seen: list[torch.Tensor] = []
    handle = net.bn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net.eval()
    with torch.no_grad():
        for part in (net.bn,):
            part.train()
        for x, _ in batches():
            net(x)
    handle.remove()
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    assert torch.allclose(means, net.bn.running_mean, atol=0.05)
    assert all(torch.equal(p, weights[name]) for name, p in net.named_parameters())


def run(checkpoint: Path | None = None, seed: int = 0, **more: Any) -> tuple[nn.Module, Any]:
    net, masks = masked(learning=Learning(distillation=Distillation()))
    settings = Training(epochs=3, lr=0.01, seed=seed)
    loss, generator = more.pop("loss", count_loss), torch.get_rng_state()
    try:
        return net, train(masks, batches(), loss, settings, checkpoint=checkpoint, **more)
    finally:
        assert torch.equal(generator, torch.get_rng_state())


def test_the_seed_says_what_comes_out() -> None:
    first, trained = run()
    second, again = run()
    assert state(first) == state(second)
    assert trained == again
    assert state(run(seed=1)[0]) != state(first)


class StopError(Exception):
    """Stands for whatever ends a process."""


def test_a_stopped_run_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    undisturbed, wanted = run()
    calls, kept = [0], tmp_path / "training.pt"

    def stopping(made: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 5:  # in the middle of the second epoch
            raise StopError
        return count_loss(made, labels)

    with pytest.raises(StopError):
        run(kept, loss=stopping)
    found: list[Diagnostic] = []
    resumed, trained = run(kept, report=found.append)
    assert [d.code for d in found] == ["spike-nm/resumed"]
    assert state(resumed) == state(undisturbed)
    assert trained == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["training.pt"]


def test_a_foreign_or_broken_checkpoint_is_refused_and_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "training.pt"
    run(kept)
    whole = kept.read_bytes()
    for content, say in ((whole, "other weights"), (whole[: len(whole) // 2], "cannot be read"), (b"x", "read")):
        kept.write_bytes(content)
        with pytest.raises(CompileError, match=f"spike-nm/checkpoint(.|\n)*{say}"):
            run(kept, seed=int(content is whole))
        assert kept.read_bytes() == content
    torch.save({"weight": torch.zeros(2)}, kept)
    with pytest.raises(CompileError, match="no checkpoint of a SpikeNM training"):
        run(kept)


def test_a_diverged_step_is_told_and_the_network_put_back() -> None:
    def refused(optimizer: Any = None, loss: Any = count_loss) -> str:
        net, masks = masked()
        before = state(net)
        with pytest.raises(CompileError) as error:
            train(masks, batches(), loss, Training(epochs=1), optimizer=optimizer)
        assert state(net) == before
        return str(error.value)

    def blown(groups: Any) -> Any:
        groups[1]["lr"] = float("inf")
        return torch.optim.SGD(groups)

    assert "spike-nm/nan" in (text := refused(blown))
    assert "the logits of this layer are not finite" in text
    assert "the loss is nan" in refused(loss=lambda made, labels: count_loss(made, labels) * float("nan"))
    assert "spike-nm/loss" in refused(loss=lambda made, labels: made)
    _, masks = masked()
    with torch.no_grad():
        masks.layers["fc1"].logits[0, 0, 0] = float("nan")
    with pytest.raises(CompileError, match="spike-nm/nan"):
        masks.export()
    assert not masks.layers["conv2"].is_frozen


def test_what_cannot_be_masked_is_told_all_at_once(golden: Callable[[str, str], None]) -> None:
    def text(call: Callable[[], Any]) -> str:
        with pytest.raises(CompileError) as error:
            call()
        return str(error.value)

    net = Net()
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    once, masks = masked()
    told = [
        text(lambda: attach(net, Pattern(1, 8), layers=["conv1", "lif1", "fc9", "fc2"], pad=False)),
        text(lambda: attach(nn.Sequential(nn.Linear(8, 8)), Pattern(1, 4))),
        text(lambda: attach(tied, Pattern(1, 4), **ALL)),
        text(lambda: attach(once, Pattern(1, 4))),
        text(lambda: train(masks, [], count_loss)),
        text(lambda: train(masks, iter(batches()), count_loss)),
        text(lambda: train(masks, [torch.zeros(4, 8, 2, 5, 5)], count_loss)),
    ]
    masks.freeze()
    told.append(text(lambda: train(masks, batches(), count_loss)))
    masks.export()
    told.append(text(masks.export))
    golden("train", "\n\n".join(told) + "\n")
    assert state(net) == state(Net())
    found: list[Diagnostic] = []
    attach(net, Pattern(1, 4, "out"), report=found.append)
    assert [(d.code, d.where) for d in found] == [("spike-nm/skipped", "conv1"), ("spike-nm/skipped", "fc2")]


@pytest.mark.parametrize(
    "call",
    [
        lambda: Pattern(4, 4),
        lambda: Pattern(0, 4),
        lambda: Pattern(2, 64),
        lambda: Pattern(1, 4, "up"),  # type: ignore[arg-type]
        lambda: Schedule(temperature=(0, 1)),
        lambda: Schedule(dense=0.5, sparse=0.2),
        lambda: Learning("best"),  # type: ignore[arg-type]
        lambda: Learning("random", distillation=Distillation()),
        lambda: Distillation("luck"),  # type: ignore[arg-type]
        lambda: Training(epochs=0),
        lambda: replace(Training(), lr=float("nan")),
    ],
)
def test_settings_that_cannot_be_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"must|needs|one of|alone|is in or out"):
        call()
