"""spikec compiles trained spiking networks for neuromorphic hardware."""

__version__ = "0.1.0"
