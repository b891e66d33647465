"""Rows on SQLite and on PostgreSQL behind the service's ports."""
