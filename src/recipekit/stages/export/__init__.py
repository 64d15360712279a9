"""Export: the model and the data for other tools."""
