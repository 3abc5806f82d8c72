"""Fine-tuning in PyTorch, on the user's own module, of a network that a pass has pruned: the zeros stay zeros."""

from spikec.passes.finetune.carry import Masked, carry
from spikec.passes.finetune.masks import hold, install
from spikec.passes.finetune.tune import FineTuning, Tuned, fine_tune

__all__ = ["FineTuning", "Masked", "Tuned", "carry", "fine_tune", "hold", "install"]
