"""Augmentation: images one by one in the loading processes, volumes in batches on the training device."""
