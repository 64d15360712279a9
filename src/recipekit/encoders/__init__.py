"""Encoders: the models that are trained, as a recipe names them, and how they are loaded and saved."""
