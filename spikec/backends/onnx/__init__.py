"""ONNX out: one step of a float graph in standard ops, every state an input and an output."""

from spikec.backends.onnx.backend import OnnxBackend

__all__ = ["OnnxBackend"]
