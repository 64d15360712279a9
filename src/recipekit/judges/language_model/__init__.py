"""The parts of the `llm` judge: which passages go into which call, what the answers add up to, and what is counted."""
