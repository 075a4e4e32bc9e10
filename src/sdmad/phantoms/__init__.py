"""Procedural images of three modalities, with exact masks of every sign they show."""
