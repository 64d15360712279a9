"""`recipekit init`: a first recipe, written for the data at hand."""
