"""Runs, searches, blends and test evaluations in experiment trackers, read from the records on the disk."""
