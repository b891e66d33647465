"""What shipway does: every rule and every permission, once."""
