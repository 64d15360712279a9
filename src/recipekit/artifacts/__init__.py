"""Artifacts: finished directories on disk, named by what made them."""
