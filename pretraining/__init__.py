"""How the nano backbone was made: one command, ``python -m pretraining``."""
