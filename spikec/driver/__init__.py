"""The driver: loads, compiles, runs and verifies; the only room that knows the others."""
