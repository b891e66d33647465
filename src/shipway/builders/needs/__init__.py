"""What a source says it needs: which Python, which packages, where its own project lies."""
