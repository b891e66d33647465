"""What a person imports: `launch_add`, `QueuedRun`, `Run`, `Api`."""
