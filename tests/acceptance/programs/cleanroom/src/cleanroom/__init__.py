"""A project that knows nothing of shipway's own packages."""
