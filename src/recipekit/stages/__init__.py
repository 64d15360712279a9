"""The stages: what each makes of the artifacts before it, and in which order."""
