"""Power cuts, kills at every system call, and a network that loses and doubles."""
