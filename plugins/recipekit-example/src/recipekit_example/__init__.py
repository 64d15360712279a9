"""An example plugin of recipekit."""
