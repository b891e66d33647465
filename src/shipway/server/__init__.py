"""The edge: HTTP in, service calls out."""
