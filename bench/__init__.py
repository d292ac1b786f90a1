"""Benchmarks: always a ratio to a floor measured in the same run, never a time alone."""
