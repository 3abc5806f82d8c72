"""NIR out: writes a float graph as a plain NIR file that other tools read, and says what NIR could not hold."""

from spikec.backends.nir.backend import NirBackend, as_read_by_others
from spikec.backends.nir.loss import Loss

__all__ = ["Loss", "NirBackend", "as_read_by_others"]
