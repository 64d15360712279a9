"""Runs at the start of every Python process that has this folder on its path."""

import extra_stage
from recipekit import stages

stages.PIPELINE = extra_stage.add_to_pipeline()
