"""Evaluate: the trained encoder next to its baselines."""
