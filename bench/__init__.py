"""Benchmarks: wherever it can be a ratio to a floor measured in the same process, not a time."""
