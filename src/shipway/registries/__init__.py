"""Registry plugins: who we are for a registry of container images, and what a name stands for."""
