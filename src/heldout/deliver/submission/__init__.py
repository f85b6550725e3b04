"""Submissions: the sample that they must match, run-length masks, the checks, the writer."""
