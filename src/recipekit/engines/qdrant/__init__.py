"""Qdrant: connecting, loading embeddings into collections, and searching."""
