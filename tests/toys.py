"""Systems that tests put beside the real ones."""

import torch

from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.registry import Recipe, System


class Brightness(AnomalyDetector):
    """Brighter is more abnormal; where, too."""

    has_maps = True

    def __init__(self, sign=1.0):
        self.weight = torch.nn.Parameter(torch.tensor([sign, 0.0]))
        self.log_ = [2.0, 1.0]

    @property
    def learnt(self):
        return (self.weight,)

    def _fit(self, pixels, abnormal, masks):
        self.seen = (len(pixels), int(abnormal.sum()), [m is not None for m in masks])

    def score_pixels(self, pixels):
        return (self.weight[0] * pixels.mean(dim=(1, 2, 3))).detach()

    def map_pixels(self, pixels):
        return (self.weight[0] * pixels.mean(dim=1)).detach()


def toy(name="bright", title="brightness", sign=1.0, make=None, fitted=None):
    """A system that looks at the brightness; ``fitted`` gets an entry a fit."""

    def build(built, settings):
        if fitted is not None:
            fitted.append(built)
        return OnePerCategory(built.bank.names, built.backbone, lambda _: Brightness(sign))

    return System(name, title, "nobody", "nothing", Recipe(make or build), single=True, maps=True)
