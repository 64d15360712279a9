"""Train: an encoder on the judged data."""
