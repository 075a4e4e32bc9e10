"""Models, their batches, scores, refits and reader studies of a server."""
