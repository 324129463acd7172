"""Training and querying of one model as pure functions, and of many at once."""
