"""The systems that SD-MAD is compared with, behind the same interface."""

from sdmad.baselines.linear_probe import LinearProbeDetector
from sdmad.baselines.zero_shot import ZeroShotCLIP, name_bank

__all__ = ["LinearProbeDetector", "ZeroShotCLIP", "name_bank"]
