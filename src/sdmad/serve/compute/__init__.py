"""Models of a server: their batches, scores and refits."""
