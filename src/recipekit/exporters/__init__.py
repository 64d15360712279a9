"""Exporters: the trained model and the judged data, in the forms that others use."""
