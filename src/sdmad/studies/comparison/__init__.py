"""Every compared system on the same data, shots, draws and protocols."""

from sdmad.studies.comparison.run import Comparison, compare

__all__ = ["Comparison", "compare"]
