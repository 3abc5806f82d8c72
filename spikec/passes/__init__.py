"""Passes rewrite a graph into a smaller one, or into one that a target can express."""
