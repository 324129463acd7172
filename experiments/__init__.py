"""Experiments: short modules of values. `python -m experiments.NAME --help` explains the flags."""
