"""The kinds of attack, a module each with one function ``attack(random, material, place)``.

A kind may have ``prepare(folder)``, which makes what its attacks begin with, its own ``COUNT``,
and its own limits ``SECONDS`` and ``MEGABYTES``.
"""
