"""Benchmarks: a ratio to a floor measured in the same process, not a time alone, wherever it can be."""
