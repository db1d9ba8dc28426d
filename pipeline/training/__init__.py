"""The training loop and what it needs: batches, optimizer, schedule, checkpoints, execution."""
