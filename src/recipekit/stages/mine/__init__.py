"""Mine: candidate passages for every query."""
