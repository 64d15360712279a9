"""The report of a run: read from its folder and from the artifacts on disk, and from nothing else."""
