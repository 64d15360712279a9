"""Exporters: trained models and judged data in forms that other tools read."""
