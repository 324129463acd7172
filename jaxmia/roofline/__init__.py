"""Programs compiled for accelerators that are not here, and the bounds on their speed."""
