"""Encoders: the models that a recipe names, and how they are loaded and saved."""
