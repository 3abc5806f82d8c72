"""Train both networks and write their weights: `python examples/digits/train.py`, two minutes on one thread.

Seeds are fixed, sums are made in one order: the same machine with the same torch writes the weights of the repository
again, byte for byte. Another processor may round otherwise, and then the weights differ slightly.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import snntorch as snn
import torch
from data import Part, split
from model import net, net_soft
from torch import nn

HERE = Path(__file__).resolve().parent
NETWORKS = {"digits": net, "digits_soft": net_soft}


def tensors(part: Part) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes with time first, (T, N, 1, 8, 8) float, and labels (N,)."""
    return torch.from_numpy(part.spikes).float().transpose(0, 1).contiguous(), torch.from_numpy(part.labels)


def shifted(spikes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The batch as it is, or as often moved by up to one pixel each way: the data are few."""
    if torch.rand((), generator=generator) < 0.5:
        return spikes
    padded = nn.functional.pad(spikes, (1, 1, 1, 1))
    down, right = (int(torch.randint(3, (), generator=generator)) for _ in range(2))
    return padded[..., down : down + 8, right : right + 8]


def enliven(model: nn.Module) -> None:
    """Double torch's initial weights: with those as they are, the deeper layers hardly fire and learn nothing."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.weight *= 2


def blur(model: nn.Module, generator: torch.Generator) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Move each weight by up to one step of 7 bits, for one batch, and return what it was.

    A network that learns under this keeps its accuracy when its weights are rounded to 8 bits.
    """
    exact = [(m.weight, m.weight.detach().clone()) for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    with torch.no_grad():
        for weight, value in exact:
            weight += (torch.rand(weight.shape, generator=generator) - 0.5) * 2 * value.abs().max() / 63
    return exact


def train(model: nn.Module, part: Part, epochs: int, seed: int) -> None:
    """Train in place: cross entropy on the spike counts of the outputs, Adam, learning rate to zero by a cosine."""
    spikes, labels = tensors(part)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    batches = -(-len(labels) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for epoch in range(epochs):
        losses = []
        for chosen in torch.randperm(len(labels), generator=generator).split(64):
            exact = blur(model, generator)
            counts = model(shifted(spikes[:, chosen], generator)).sum(0)
            loss = nn.functional.cross_entropy(counts, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                for weight, value in exact:
                    weight.copy_(value)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if epoch % 10 == 9 or epoch == epochs - 1:
            print(f"  epoch {epoch + 1:3d}: loss {sum(losses) / len(losses):.4f}", flush=True)


def accuracy(model: nn.Module, part: Part) -> float:
    """The share of samples whose label is the output that fires most (the lower one, where two fire equally often)."""
    spikes, labels = tensors(part)
    with torch.no_grad():
        return (model(spikes).sum(0).argmax(1) == labels).double().mean().item()


def rates(model: nn.Module, part: Part) -> dict[str, float]:
    """Spikes a neuron and step, of each layer of neurons, over the part."""
    total: dict[str, list[float]] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, n=name: total.setdefault(n, []).append(out[0].mean().item()))
        for name, module in model.named_modules()
        if isinstance(module, snn.Leaky)
    ]
    with torch.no_grad():
        model(tensors(part)[0])
    for hook in hooks:
        hook.remove()
    return {name: sum(means) / len(means) for name, means in total.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train both networks and write their weights.")
    parser.add_argument("-o", "--out", type=Path, default=HERE, help="folder for the .pt files (default: this one)")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=NETWORKS, help="train one network only")
    args = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, so that the weights come out the same
    torch.use_deterministic_algorithms(True)
    train_part, test_part = split()
    for name, build in NETWORKS.items():
        if args.only not in (None, name):
            continue
        print(f"{name}:")
        torch.manual_seed(args.seed)
        start, model = time.monotonic(), build()
        enliven(model)
        train(model, train_part, args.epochs, args.seed)
        torch.save(model.state_dict(), args.out / f"{name}.pt")
        print(f"  trained in {time.monotonic() - start:.0f} s")
        print(f"  accuracy: training {accuracy(model, train_part):.2%}, held out {accuracy(model, test_part):.2%}")
        print("  spikes a neuron and step: " + ", ".join(f"{k} {v:.3f}" for k, v in rates(model, test_part).items()))


if __name__ == "__main__":
    main()
