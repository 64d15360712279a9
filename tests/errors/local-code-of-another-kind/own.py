class Own:
    """Nothing that is known."""
