"""PyTorch in: one eager tracer for torch.nn layers and the neurons of frameworks that have an adapter."""

from spikec.frontends.torch.lower import lower

__all__ = ["lower"]
