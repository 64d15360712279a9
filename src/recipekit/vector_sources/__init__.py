"""Vectors of passages that exist already: in files, and in indices of Qdrant and Elasticsearch."""
