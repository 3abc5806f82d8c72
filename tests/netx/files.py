"""Small `.net` files as SLAYER exports them, for the tests of the reader and the writer."""

from __future__ import annotations

import h5py
import numpy as np

CUBA = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 80, "refDelay": 1, "gradedSpike": False}


def put(path, *layers):
    """Write a `.net` of layers given as dicts; `neuron` is a dict in a layer."""
    with h5py.File(path, "w") as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for name, value in layer.items():
                if name == "type":
                    group.create_dataset("type", data=np.array([value.encode()], dtype="S10"))
                elif name == "neuron":
                    for key, item in value.items():
                        group.create_dataset(f"neuron/{key}", data=item)
                else:
                    group.create_dataset(name, data=value)
    return path


def dense(weight, **more):
    """Give a dense layer."""
    return {"type": "dense", "shape": [len(weight)], "weight": weight, "neuron": CUBA, **more}


def even(rng, *shape, top=254):
    """Draw even weights."""
    return 2 * rng.integers(-top // 2, top // 2 + 1, shape)
