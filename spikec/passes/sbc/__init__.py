"""SBC: one-shot pruning and quantization of a trained spiking network by second-order losses (arXiv 2506.03996)."""
