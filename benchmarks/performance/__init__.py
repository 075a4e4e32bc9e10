"""How fast the package is and where its time goes: ``make bench``, ``docs/performance.md``."""
