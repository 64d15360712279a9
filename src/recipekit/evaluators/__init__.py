"""Evaluators: metrics of several systems with intervals and tested differences."""
