"""Benchmarks: what jaxmia costs in time and memory, against other ways to do the same."""
