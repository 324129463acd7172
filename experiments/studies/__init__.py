"""Studies: what the README and the documentation state, each by its own command."""
