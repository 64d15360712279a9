"""Collect: read the sources, merge duplicates, split by query."""
