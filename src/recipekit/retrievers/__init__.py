"""Retrievers: candidate passages for queries, by words or by embeddings, in this process or from a
server.
"""
