"""Lava, run in a worker process with an environment of its own; nothing here imports Lava into spikec's process."""
