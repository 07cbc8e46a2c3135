"""Training runs: the trainer, what it leaves in its folder, and sweeps of many runs."""
