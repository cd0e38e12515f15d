"""Benchmarks: run on demand (`python -m benchmarks`), printed as ratios of one run. Not tests."""
