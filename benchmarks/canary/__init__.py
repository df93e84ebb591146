"""Which package versions work: python -m benchmarks.canary."""
