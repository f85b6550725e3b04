"""Trainings as a plan of fits, and the engines that run it."""
