"""A sealed decision becomes files for others: predictions of a folder, submissions, kernels."""
