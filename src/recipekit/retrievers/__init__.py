"""Retrievers: candidate passages for queries, lexical or dense, embedded or on a server."""
