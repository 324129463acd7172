"""Which attack with how many references: real sets, networks and boosted trees, every attack."""
