"""Kills random processes of a whole shipway under load, and judges what came of each item."""
