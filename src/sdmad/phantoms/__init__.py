"""Procedural images of four modalities, with exact masks of every sign they show."""
