"""Training: state, schedule, step, devices, logs and the loop."""
