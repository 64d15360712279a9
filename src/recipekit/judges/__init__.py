"""Judges: verdicts on (query, passage) pairs, by a score, a file, a cross-encoder or a language
model.
"""
