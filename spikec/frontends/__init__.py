"""Frontends read a trained network, in the form of its own framework, into a graph."""
