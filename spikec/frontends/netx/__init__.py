"""Reader of lava-dl's `.net` files: HDF5 exports of SLAYER, read as what lava-dl's netx would run on Lava."""

from spikec.frontends.netx.reader import lower

__all__ = ["lower"]
