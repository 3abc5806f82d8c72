"""The compiled core of spikec."""

__version__: str
