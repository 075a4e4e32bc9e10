"""What the studies' tests share: short trainings, and material of a few pictures."""

import dataclasses

import pytest

from sdmad.data.sets.table_data import TableData
from sdmad.detector.sdmad import train_adapters
from sdmad.studies.material import Material


@pytest.fixture
def one_epoch(monkeypatch):
    """Every training takes one epoch, whatever the settings say."""

    def short(images, texts, labels, category, config, *rest):
        quick = dataclasses.replace(config, epochs=min(config.epochs, 1))
        return train_adapters(images, texts, labels, category, quick, *rest)

    monkeypatch.setattr("sdmad.detector.sdmad.train_adapters", short)


@pytest.fixture
def material(tmp_path, make_data, small_bank):
    """Twenty-four pictures with rings, bars and dots."""
    return Material(TableData(make_data(tmp_path / "data"), small_bank.names), small_bank)
