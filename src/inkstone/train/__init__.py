"""The training loop, its objectives, optimizers and schedules."""
