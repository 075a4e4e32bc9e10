"""Procedural images of seven modalities, with exact masks of every sign they show."""
