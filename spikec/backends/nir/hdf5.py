"""The bytes of a NIR file: HDF5 as nir itself writes it, with no clock and no chance in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikec.backends.nir.plan import Plan
from spikec.compiler.notes import KEY, pack

NIR_VERSION = "1.0.8"
"""The version of nir whose fields are written; nir itself puts its own there and reads any."""

_COMPRESS_FROM = 256


def to_bytes(plan: Plan) -> bytes:
    """Give the file; the same plan gives the same bytes."""
    import h5py

    # libver earliest and no times: nothing in the file depends on when or by which release of HDF5 it was written.
    with h5py.File("network.nir", "w", driver="core", backing_store=False, libver="earliest") as archive:
        _text(archive, "version", NIR_VERSION)
        node = archive.create_group("node")
        _text(node, "type", "NIRGraph")
        node.create_dataset("edges", data=plan.edges, dtype=h5py.string_dtype())
        nodes = node.create_group("nodes")
        for name in sorted(plan.parts):
            group = nodes.create_group(name)
            _text(group, "type", plan.parts[name].type)
            for field, value in sorted(plan.parts[name].fields.items()):
                _array(group, field, value)
        text, arrays = pack(plan.note)
        own = node.create_group("metadata").create_group(KEY)
        _text(own, "text", text)
        kept = own.create_group("arrays")
        for key in sorted(arrays, key=int):
            _array(kept, key, arrays[key])
        archive.flush()
        return bytes(archive.id.get_file_image())


def _text(group: Any, name: str, value: str) -> None:
    import h5py

    group.create_dataset(name, data=value, dtype=h5py.string_dtype())


def _array(group: Any, name: str, value: Any) -> None:
    array = np.asarray(value)
    packed = {"compression": "gzip"} if array.size >= _COMPRESS_FROM else {}
    group.create_dataset(name, data=array, **packed)
