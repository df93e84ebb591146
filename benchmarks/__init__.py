"""Measurements: each module is a command that writes a JSON result into benchmarks/results/."""
