"""The runtime runs a graph or an artifact on the host, and compares spike by spike."""
