"""Training: state, schedule, step, devices, checkpoints and the loop."""
