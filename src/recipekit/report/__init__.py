"""Report blocks, their renderers, and number formatting; stages describe themselves with these."""
