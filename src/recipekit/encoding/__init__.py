"""Encoding: texts to tokens to embedding matrices, whichever encoder it is, on any number of ranks."""
