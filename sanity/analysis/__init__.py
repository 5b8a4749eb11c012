"""From scores to means, intervals and verdicts."""
