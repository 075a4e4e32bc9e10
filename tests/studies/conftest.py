"""What the studies' tests share: short trainings, material of a few pictures, a toy system."""

import dataclasses

import pytest
import torch

from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.registry import Recipe, System
from sdmad.data.sets.table_data import TableData
from sdmad.detector.sdmad import train_adapters
from sdmad.studies.material import Material


class Brightness(AnomalyDetector):
    """Brighter is more abnormal; where, too."""

    has_maps = True

    def __init__(self, sign=1.0):
        self.weight = torch.nn.Parameter(torch.tensor([sign, 0.0]))
        self.log_ = [2.0, 1.0]

    @property
    def learnt(self):
        return (self.weight,)

    def fit(self, pixels, abnormal, masks):
        self.seen = (len(pixels), int(abnormal.sum()), [m is not None for m in masks])
        return self

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

    return System(
        name, title, "nobody", "nothing", Recipe(make or build), single=True, maps=True
    )


@pytest.fixture
def one_epoch(monkeypatch):
    """Every training takes one epoch, whatever the settings say."""

    def short(images, texts, labels, category, config, *rest):
        quick = dataclasses.replace(config, epochs=1)
        return train_adapters(images, texts, labels, category, quick, *rest)

    monkeypatch.setattr("sdmad.detector.sdmad.train_adapters", short)


@pytest.fixture
def material(tmp_path, make_data, small_bank):
    """Twenty-four pictures with rings, bars and dots."""
    return Material(TableData(make_data(tmp_path / "data"), small_bank.names), small_bank)
