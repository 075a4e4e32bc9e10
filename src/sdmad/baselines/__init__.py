"""The systems that SD-MAD is compared with, behind the same interface."""
