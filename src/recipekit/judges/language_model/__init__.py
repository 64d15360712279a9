"""The parts of the `llm` judge: which passages go into which call, what the answers add up to, and
what is counted.

Asking itself is the room `llm`, which knows nothing of judging.
"""
