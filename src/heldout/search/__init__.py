"""Hyper-parameter search with Optuna, on inner folds only."""
