"""The paper's equations, one module each: pure functions and small modules on tensors.

``adapters`` holds Eq. 1 and 2, ``losses`` Eq. 3 to 5, ``selection`` Definition 3.2 to Eq. 6 and
``scoring`` Eq. 7 and 8. Nothing here knows about files, backbones or the rest of the package.
"""
