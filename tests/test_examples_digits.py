"""The digits networks in `examples/`: their weights load as anyone's would and reach the stated accuracy."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

HERE = Path(__file__).resolve().parents[1] / "examples" / "digits"
SPIKE_RATE = (0.005, 0.4)  # outside of this a layer is dead, or saturated


def load(name: str) -> ModuleType:
    """A file of the example as a module, which is also how a user's file is read: by its path."""
    spec = importlib.util.spec_from_file_location(f"examples_digits_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


data = load("data")
model = load("model")


def trained(build: str, weights: str) -> torch.nn.Module:
    """The network with the weights of the repository, all keys of which must fit."""
    path = HERE / weights
    assert path.stat().st_size < 200_000
    module: torch.nn.Module = getattr(model, build)()
    module.load_state_dict(torch.load(path, weights_only=True), strict=True)
    return module


@pytest.mark.parametrize(("build", "weights", "depth"), [("net", "digits.pt", 4), ("net_soft", "digits_soft.pt", 2)])
def test_at_least_95_percent_of_the_held_out_digits_are_right(build: str, weights: str, depth: int) -> None:
    module, part = trained(build, weights), data.split()[1]
    rates: dict[str, list[float]] = {}
    for name, layer in module.named_modules():
        if name.startswith("lif"):
            layer.register_forward_hook(
                lambda _m, _i, out, n=name: rates.setdefault(n, []).append(float(out[0].mean()))
            )
    with torch.no_grad():
        spikes = module(torch.from_numpy(part.spikes).float().transpose(0, 1))
    assert spikes.shape == (data.STEPS, len(part.labels), 10)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    right = (spikes.sum(0).argmax(1).numpy() == part.labels).mean()
    assert right >= 0.95
    assert {n: len(steps) for n, steps in rates.items()} == {f"lif{k + 1}": data.STEPS for k in range(depth)}
    for name, steps in rates.items():
        assert SPIKE_RATE[0] < np.mean(steps) < SPIKE_RATE[1], name


def test_resets_and_biases_are_the_ones_that_the_demo_is_about() -> None:
    for build, reset in (("net", "zero"), ("net_soft", "subtract")):
        layers = list(getattr(model, build)().modules())
        resets = [layer.reset_mechanism for layer in layers if hasattr(layer, "reset_mechanism")]
        biases = [layer.bias for layer in layers if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))]
        assert set(resets) == {reset}
        assert len(biases) == len(resets)
        assert all(bias is not None for bias in biases)


def test_the_parts_are_disjoint_and_together_all_of_the_data() -> None:
    train, test = data.split()
    assert not np.intersect1d(train.indices, test.indices).size
    np.testing.assert_array_equal(np.union1d(train.indices, test.indices), np.arange(1797))
    assert len(test.indices) == 359


def test_a_pixel_fires_as_often_as_its_value_says() -> None:
    image = np.arange(64).reshape(1, 8, 8) % 17
    spikes = data.encode(image)
    assert spikes.shape == (1, 16, 1, 8, 8)
    assert spikes.max() == 1
    np.testing.assert_array_equal(spikes.sum(1)[:, 0], image)


def test_the_script_writes_the_held_out_spikes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "digits_test.npz"
    monkeypatch.setattr("sys.argv", ["data.py", str(out)])
    data.main()
    with np.load(out) as file:
        assert set(file.files) == {"spikes", "labels"}
        assert file["spikes"].dtype == np.uint8
        np.testing.assert_array_equal(file["spikes"], data.split()[1].spikes)
        np.testing.assert_array_equal(file["labels"], data.split()[1].labels)
