"""Leases items and sees each through."""
