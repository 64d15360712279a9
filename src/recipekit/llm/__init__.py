"""Asking language models: calls that are paid once, within a budget, whatever the endpoint does."""
