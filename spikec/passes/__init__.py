"""Passes: rewrites of a graph that make it smaller or bring it nearer to a target; `ALL` names them."""

from __future__ import annotations

from typing import Any

from spikec.passes.balance_delays import BalanceDelays
from spikec.passes.fold import Fold
from spikec.passes.lower import Lower
from spikec.passes.quantize import Quantize
from spikec.passes.sbc import SBC, SBCQuantize
from spikec.passes.spike_nm import SpikeNM

ALL: dict[str, type[Any]] = {cls.name: cls for cls in (Fold, SBC, SpikeNM, SBCQuantize, Lower, Quantize, BalanceDelays)}
"""Every pass by the name that the command line knows."""
