"""Backends check a graph against a target and emit the files that it needs."""
