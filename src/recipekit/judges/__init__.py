"""Judges: verdicts on (query, passage) pairs, by score, file, cross-encoder or language model."""
