"""The benchmark of the HTTP service: programs, their speed, and their answers."""
