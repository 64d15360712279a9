"""Exact search over memory-mapped matrices, and the fusion of several rankings."""
