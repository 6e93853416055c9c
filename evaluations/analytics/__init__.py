"""How versions are rated: what the analytics API, its page and the landing page read."""
