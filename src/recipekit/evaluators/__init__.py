"""Evaluators: retrieval metrics of several systems side by side, and what can be said of their
differences.
"""
