"""Numbered experiments: each file is the difference from its parent, and its docstring is its title."""
