"""From scores to numbers: figures, intervals, posteriors, exposure, power. Draws nothing."""
