"""A sealed decision over HTTP."""
