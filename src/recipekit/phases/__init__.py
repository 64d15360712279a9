"""Phases of training, as a recipe names them. What they build is in `recipekit.training`."""
