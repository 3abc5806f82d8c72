"""Runs a `.net` with the real netx of lava-dl on Lava: a script for the worker process, started by the tests.

    python netx_run.py NET IN.npz OUT.npz

IN.npz: `spikes` (N, T, inputs) in the order of netx's own input port; `reset_interval` (0: none), `reset_offset`,
`message_bits` (of the input), `inject` (1: the input goes to the current of the first layer's neurons).
OUT.npz: `s`, `u/LAYER`, `v/LAYER`, each (N, T, *shape as netx has it: W, H, C).
"""

import sys
import types

import numpy as np


def stub():
    """Let netx be imported without the training half of lava-dl, which needs torch."""
    resonator = types.ModuleType("lava.lib.dl.slayer.neuron.rf")
    resonator.neuron_params = lambda device: {}
    sys.modules[resonator.__name__] = resonator
    torch_half = types.ModuleType("lava.lib.dl.netx.sequential_modules")
    sys.modules[torch_half.__name__] = torch_half


def run_sample(path, data, interval, offset, bits, inject):
    """Run one sample, (T, inputs), and give the arrays of OUT without N."""
    from lava.lib.dl.netx import hdf5
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.proc.monitor.process import Monitor

    resets = {"reset_interval": interval or None, "reset_offset": offset}
    net = hdf5.Network(net_config=path, input_message_bits=bits, **resets)
    steps = len(data)
    source = Source(data=np.moveaxis(data, 0, -1))
    sink = Sink(shape=net.out.shape, buffer=steps)
    source.s_out.connect(net.in_layer.neuron.a_in if inject else net.inp)
    net.out.connect(sink.a_in)
    probes = {}
    for index, layer in enumerate(net.layers):
        for name in "uv":
            monitor = Monitor()
            monitor.probe(getattr(layer.neuron, name), steps)
            probes[f"{name}/{index}"] = (monitor, layer.neuron.name, name)
    sink.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    found = {"s": np.moveaxis(sink.data.get(), -1, 0)}
    found.update({key: np.asarray(m.get_data()[owner][name]) for key, (m, owner, name) in probes.items()})
    sink.stop()
    return found


def main(path, given, made):
    """Run every sample and write what came out."""
    stub()
    box = np.load(given)
    settings = [int(box[key]) for key in ("reset_interval", "reset_offset", "message_bits", "inject")]
    results = [run_sample(path, sample, *settings) for sample in box["spikes"]]
    np.savez(made, **{key: np.stack([r[key] for r in results]) for key in results[0]})


if __name__ == "__main__":
    main(*sys.argv[1:])
