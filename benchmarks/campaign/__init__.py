"""A campaign against hostile and unlucky inputs: ``make campaign``.

Each kind of attack is a module in ``kinds`` with one function, ``attack(random, material, place)``:
it makes an input from a seeded generator in an empty folder, gives it to the package, and says in
a word what came of it. The frame counts what must never happen.
"""
