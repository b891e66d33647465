"""Takes what the clients of runs stream, and moves their files."""
