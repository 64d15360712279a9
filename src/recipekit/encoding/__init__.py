"""Encoding: texts to tokens to embedding matrices, for any encoder and any number of ranks."""
