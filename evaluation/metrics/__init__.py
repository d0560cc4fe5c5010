"""Metrics of the three tasks, each with its definition, its source and a bootstrap interval; no torch."""
