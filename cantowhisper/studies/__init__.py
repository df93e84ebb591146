"""What lowers the error rate, and what does not: runs of `train` beside each other, over seeds."""
