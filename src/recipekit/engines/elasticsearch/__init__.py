"""Elasticsearch: connecting, indexing passages, searching, and reading an index."""
