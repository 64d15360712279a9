"""A small async client for language models: cached, budgeted, rate-limited and retried."""
