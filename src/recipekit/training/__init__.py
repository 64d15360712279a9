"""The training loop, with its batches, labels, frozen matrices and checkpoints."""
