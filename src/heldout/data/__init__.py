"""From raw files to checked cases, folds and prepared arrays."""
