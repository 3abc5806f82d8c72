"""SBC: one-shot pruning and quantization of a trained spiking network by second-order losses (arXiv 2506.03996)."""

from __future__ import annotations

from spikec.passes.sbc.quantizing import SBCQuantize
from spikec.passes.sbc.sparsify import SBC

__all__ = ["SBC", "SBCQuantize"]
