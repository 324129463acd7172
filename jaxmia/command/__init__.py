"""The command line: `jaxmia ...`, and an experiment's own `python -m experiments.NAME`."""
