"""A run's folder: its configuration, checkpoints and other files."""
