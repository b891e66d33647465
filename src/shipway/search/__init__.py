"""Search plugins: each chooses the parameters of a sweep's runs in its own way."""
