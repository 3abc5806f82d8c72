"""NIR in: reads a file or an in-memory graph of the Neuromorphic Intermediate Representation."""

from spikec.frontends.nir.lower import lower
from spikec.frontends.nir.options import NirOptions

__all__ = ["NirOptions", "lower"]
