"""Judge: a verdict for every candidate pair."""
