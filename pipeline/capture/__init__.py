"""Captures a training step of any PyTorch transformer as the graph that the simulator plans."""
