"""Source plugins: each fetches one kind of code."""
