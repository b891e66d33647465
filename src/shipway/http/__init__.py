"""HTTP over connections of our own: what the client and the registries share."""
