"""Recipes: YAML with positions in, a validated `Recipe` out, or every problem at once."""
