"""sinabs networks: every way to lay out time, converted and recurrent ones; and what is refused, in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sinabs
import sinabs.activation as act
import sinabs.layers as sl
import torch
from sinabs.from_torch import from_model
from torch import nn

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ops import Delay, SumPool
from spikec.driver.api import compile as compile_for
from spikec.frontends.torch import lower
from spikec.frontends.torch.weights import load_weights
from tests.frontends.cells import sinabs_layer
from tests.frontends.torch_networks import Array, exact, layers_apart, layout, spikes

Golden = Callable[[str, str], None]


def ann() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        sl.SumPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def converted() -> nn.Module:
    """A network from `from_model`, that takes (N * T, ...)."""
    return from_model(exact(ann()), input_shape=(2, 8, 8), batch_size=1, add_spiking_output=True)


def images(samples: int = 3, steps: int = 20) -> Array:
    return spikes(steps, samples, (2, 8, 8))


class Recurrent(nn.Module):
    """Convolutions repeated over time, a recurrent layer, and a leaky readout; (N, T, ...)."""

    def __init__(self) -> None:
        super().__init__()
        half = 1 / np.log(2.0)
        self.conv = sl.Repeat(nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, eps=0.0)))
        self.first = sl.IAF(min_v_mem=-1.0)
        self.flat = nn.Flatten(2)
        self.fc = nn.Linear(144, 32)
        self.second = sinabs_layer("LIFRecurrent", True, tau_syn=half)
        self.out = nn.Linear(32, 5)
        self.last = sl.LIF(tau_mem=half, norm_input=False, spike_fn=act.SingleSpike)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.flat(self.first(self.conv(x)))
        return self.last(self.out(self.second(self.fc(x))))


class Styles(nn.Module):
    """Two layers; `style` says how forward lays out time, from (N, T, F)."""

    def __init__(self, style: str) -> None:
        super().__init__()
        squeeze = style in ("flattened", "joined")
        self.fc1, self.fc2 = nn.Linear(16, 12), nn.Linear(12, 8)
        self.lif1 = sinabs_layer("LIFSqueeze" if squeeze else "LIF", True, norm_input=False)
        self.lif2: Any = sl.IAFSqueeze(batch_size=4) if squeeze else sl.IAF()
        self.together, self.apart = sl.FlattenTime(), sl.UnflattenTime(batch_size=4)
        self.style = style

    def forward(self, x: torch.Tensor) -> Any:
        return getattr(self, self.style)(x)

    def joined(self, x: torch.Tensor) -> Any:
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))

    def flattened(self, x: torch.Tensor) -> Any:
        return self.apart(self.joined(self.together(x)))

    def whole(self, x: torch.Tensor) -> Any:
        sinabs.reset_states(self)
        return self.joined(x)

    def streamed(self, x: torch.Tensor) -> Any:
        return torch.cat([self.joined(x[:, t : t + 1]) for t in range(x.shape[1])], dim=1)

    def stepped(self, x: torch.Tensor) -> Any:
        return torch.stack([self.joined(x[:, t].unsqueeze(1)).squeeze(1) for t in range(x.shape[1])], dim=1)

    def repeated(self, x: torch.Tensor) -> Any:
        return self.joined(x.unsqueeze(1).repeat(1, 10, 1))


def test_a_converted_network_in_every_layer() -> None:
    torch.manual_seed(1)
    module = converted()
    apart = layers_apart(module, images(), "joined")
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) == 4
    graph = lower(module, images(), time_axis="joined")
    assert len(graph.of(SumPool)) == 1
    assert graph["spiking_model.1"].op.v_min == -1.0


def test_the_converted_network_runs_as_sinabs_runs_it_sample_by_sample() -> None:
    torch.manual_seed(1)
    module = converted().eval()
    inputs = images()

    def own(inputs: Array) -> Array:
        rows = []
        for sample in torch.from_numpy(inputs):
            sinabs.reset_states(module)
            rows.append(module(sample).numpy())
        return np.stack(rows)

    assert layers_apart(module, inputs, "joined", own)["output"] == 0


def test_a_recurrent_convolutional_network_in_every_layer() -> None:
    torch.manual_seed(2)
    module = exact(Recurrent())
    apart = layers_apart(module, images(), 1)
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) == 4
    graph = lower(module, images(), time_axis=1)
    assert len(graph.of(Delay)) == 1  # the recurrent bias begins at the second step


@pytest.mark.parametrize("style", ["whole", "flattened", "streamed", "stepped", "joined"])
def test_every_layout_of_time(style: str) -> None:
    torch.manual_seed(3)
    module = exact(Styles(style)).eval()
    axis = "joined" if style == "joined" else 1
    apart = layers_apart(module, spikes(), axis)
    assert apart == {"s/lif1": 0, "s/lif2": 0, "output": 0}


def test_a_static_input_repeated_over_time() -> None:
    torch.manual_seed(4)
    module = exact(Styles("repeated")).eval()
    still = np.repeat(spikes(1), 10, axis=1)
    apart = layers_apart(module, still, None)
    assert apart == {"s/lif1": 0, "s/lif2": 0, "output": 0}


def test_batch_size_and_recordings_are_left_as_they_were() -> None:
    module = Styles("joined")
    lower(module, spikes(), time_axis="joined")
    assert (module.lif2.batch_size, module.lif2.num_timesteps) == (4, -1)
    assert not module.lif1.record_states
    assert not hasattr(module.lif1, "recordings")
    assert module.lif1.v_mem.shape == (0,)


def test_a_recurrent_network_compiles_for_a_chip() -> None:
    torch.manual_seed(5)
    options = {"spike_fn": act.SingleSpike, "reset_fn": act.MembraneReset()}
    module = exact(nn.Sequential(nn.Linear(16, 32), sinabs_layer("IAFRecurrent", True, **options)))
    inputs = spikes()
    made = compile_for(module, "loihi2", passes="quantize", calibrate=inputs, time_axis=1)
    assert made.files


class Hardly(sl.LIF):
    """A class of the user's own."""


def double(v: Any, threshold: Any, surrogate: Any) -> Any:
    return v


class Odd:
    """A spike function of the user's own."""

    required_states = ("v_mem",)

    @staticmethod
    def apply(v_mem: Any, threshold: Any, surrogate: Any) -> Any:
        return (v_mem > threshold).float()


CASES: dict[str, Callable[[], nn.Module]] = {
    "alif": lambda: sl.ALIF(tau_mem=2.0, tau_adapt=2.0),
    "alif-recurrent": lambda: sl.ALIFRecurrent(tau_mem=2.0, tau_adapt=2.0, rec_connect=nn.Linear(16, 16)),
    "spike-fn": lambda: sl.IAF(spike_fn=Odd),
    "reset-fn": lambda: sl.IAF(reset_fn=lambda spikes, state, threshold: state.copy()),
    "subclass": lambda: Hardly(tau_mem=2.0),
    "threshold": lambda: sl.IAF(spike_threshold=torch.tensor(-1.0)),
    "exp-leak-clamp": lambda: sl.ExpLeak(tau_mem=2.0, min_v_mem=-1.0),
    "quantize": sl.QuantizeLayer,
    "neuromorphic-relu": sl.NeuromorphicReLU,
    "channel-shift": lambda: sl.ChannelShift(1, -1),
    "recurrent-tanh": lambda: sl.LIFRecurrent(2.0, nn.Sequential(nn.Linear(16, 16), nn.Tanh())),
}
IMAGES: dict[str, Callable[[], nn.Module]] = {
    "max-pooling": lambda: sl.SpikingMaxPooling2dLayer(2),
    "cropping": lambda: sl.Cropping2dLayer(((1, 1), (1, 1))),
    "ceil-mode": lambda: sl.SumPool2d(3, ceil_mode=True),
    "image-to-spikes": lambda: sl.Img2SpikeLayer((2, 8, 8)),
}


def refused(module: nn.Module, example: Any, **options: Any) -> str:
    with pytest.raises(CompileError) as caught:
        lower(module, example, source="net.py:net", **options)
    return re.sub(r"\([^()\s]*\.py:\d+\)", "(FILE:LINE)", str(caught.value))


def test_refusals(golden: Golden) -> None:
    texts = [refused(nn.Sequential(make()), spikes(steps=5), time_axis=1) for make in CASES.values()]
    texts += [refused(nn.Sequential(make()), images(2, 5), time_axis="joined") for make in IMAGES.values()]
    golden("sinabs-refusals", "\n\n".join(texts))


def test_time_where_it_is_not_taken(golden: Golden) -> None:
    example = spikes(steps=5)
    texts = [
        refused(sl.IAF(), layout(example, 0)),
        refused(sl.IAF(), example[:, 0], time_axis=None),
        refused(sl.IAFSqueeze(batch_size=4), example, time_axis=1),
        refused(sl.IAF(reset_fn=act.MembraneReset(0.5)), example, time_axis=1, readout="membrane"),
        refused(Styles("whole"), example, time_axis="joined"),
    ]
    golden("sinabs-time", "\n\n".join(texts))


def test_states_reset_between_two_steps_are_seen() -> None:
    class Reset(Styles):
        def streamed(self, x: torch.Tensor) -> Any:
            made = []
            for t in range(x.shape[1]):
                made.append(self.joined(x[:, t : t + 1]))
                sinabs.reset_states(self)
            return torch.cat(made, dim=1)

    text = refused(Reset("streamed"), spikes(steps=5), time_axis=1)
    assert "lif1" in text
    assert "lif2" in text


def test_states_that_a_state_dict_holds_are_not_loaded(tmp_path: Any) -> None:
    torch.manual_seed(6)
    trained = Styles("whole").eval()
    trained(torch.rand(2, 5, 16))
    assert trained.lif1.v_mem.shape == (2, 12)
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    fresh = Styles("whole")
    load_weights(fresh, tmp_path / "net.pt")
    assert torch.equal(fresh.fc1.weight, trained.fc1.weight)
    assert fresh.lif1.v_mem.shape == (0,)
