"""Runner plugins: each starts programs on one kind of resource."""
