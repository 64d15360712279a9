"""A module that breaks as a plugin does when what it needs is not there."""

raise RuntimeError("the oven is on fire")
