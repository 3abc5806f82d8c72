"""SpikeNM: N of M weights kept in every block, in one shot or learned with the spikes (`train`, which needs torch)."""

from __future__ import annotations

from spikec.passes.spike_nm.oneshot import SpikeNM

__all__ = ["SpikeNM"]
