"""The run folder: records, signals, locks, checkpoints; and arrays that stay on disk."""
