"""What surrounds the steps of a run: its folder, checkpoints, processes and device."""
