"""Sources: passages, queries and labels, read from where they are."""
