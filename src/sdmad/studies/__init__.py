"""Many draws of the support set: one engine, and the studies that run on it."""
