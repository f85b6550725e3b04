"""Kernels for Kaggle: a bundle that predicts, a notebook that runs it offline, and the proof that it does."""
