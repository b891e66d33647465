"""What an author of a plugin imports: one protocol per kind, two errors, and `find`."""
