"""Evaluation: how often a model is right, measured on the engine that serves it."""
