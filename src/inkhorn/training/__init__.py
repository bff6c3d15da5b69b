"""Training: the loop, optimizers, checkpoints, distributed training and reports."""
