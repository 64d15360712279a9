"""Judging without a language model: candidate pairs, verdicts, control pairs, agreement and
reliability.
"""
