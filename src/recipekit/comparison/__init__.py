"""Compares models, runs and published baselines on the same data."""
