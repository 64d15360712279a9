"""Clients of Elasticsearch and Qdrant: connections, indices with ownership tags, and searching."""
