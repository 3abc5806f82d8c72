"""ONNX in: networks with ReLU become integrate-and-fire; steps with states, and Scans, are recognised by algebra."""

from spikec.frontends.onnx.lower import lower
from spikec.frontends.onnx.options import OnnxOptions

__all__ = ["OnnxOptions", "lower"]
