"""Benchmarks. Most figures are ratios to a baseline (a floor) that the same process measures."""
