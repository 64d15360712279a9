"""Locks and baselines: what a result depends on, and how others repeat it."""
