"""What there is to measure on a lent accelerator, what matters most first."""
