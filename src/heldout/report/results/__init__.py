"""RESULTS.md: what the real experiments scored, beside other systems."""
