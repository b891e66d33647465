"""Builder plugins: each makes one kind of environment."""
