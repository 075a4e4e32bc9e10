"""Procedural images of five modalities, with exact masks of every sign they show."""
