"""Backbones from the hub and from pickles: downloaded, converted, and told where they come from."""
