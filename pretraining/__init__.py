"""How the embedded backbone was made: one command, ``python -m pretraining``."""
