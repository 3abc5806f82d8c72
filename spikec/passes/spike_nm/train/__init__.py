"""SpikeNM's training half: N of M weights learned together with them, in PyTorch, on the user's own network."""

from spikec.passes.spike_nm.train.attach import Masks, attach, mark
from spikec.passes.spike_nm.train.loop import Trained, Training, recalibrate, train
from spikec.passes.spike_nm.train.settings import Distillation, Learning, Pattern, Schedule

__all__ = [
    "Distillation",
    "Learning",
    "Masks",
    "Pattern",
    "Schedule",
    "Trained",
    "Training",
    "attach",
    "mark",
    "recalibrate",
    "train",
]
