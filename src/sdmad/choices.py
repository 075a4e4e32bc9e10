"""The closed choices, each in one place: the command line offers what the package can do.

Nothing is imported here, so that ``sdmad --help`` and the completion of a shell stay quick. What
each word means stands with the code that acts on it; a test holds both together.
"""

from __future__ import annotations

from typing import Literal

EMBEDDED = "lite"
"""The backbone that comes with the package, which is taken where none is named."""

Precision = Literal["float32", "bfloat16", "auto"]
"""Of the towers' weights (:mod:`sdmad.detector.precision`)."""

GraphPrecision = Literal["float32", "bfloat16", "int8"]
"""Of an export's image tower (:mod:`sdmad.export`)."""

GraphFormat = Literal["openvino", "onnx"]
"""Whose graph an export is (:mod:`sdmad.export`)."""

ExportTarget = Literal["here", "any"]
"""Whose processor an export is for: one like this machine's, or any (:mod:`sdmad.export`)."""

Preset = Literal["recommended", "paper"]
"""Whose settings (:class:`~sdmad.SDMADConfig`)."""

Baselines = Literal["all", "none"]
"""Which simpler systems an evaluation judges beside a model (:mod:`sdmad.reporting.beside`)."""

Engine = Literal["plain", "ray"]
"""What runs a prediction: this process, or Ray on a machine or a cluster (:mod:`sdmad.archive`)."""

Tracker = Literal["mlflow"]
"""Where a fit is logged (:mod:`sdmad.reporting.tracking`)."""

Period = Literal["day", "week", "month", "quarter", "year"]
"""How long a period of a monitored archive is (:mod:`sdmad.archive.monitoring`)."""

Role = Literal["reader", "admin"]
"""What an account of a server may do (:mod:`sdmad.serve`)."""

DrawOrder = Literal["round-robin", "patient-by-patient"]
"""How shots are drawn from patients with several images (:mod:`sdmad.data.fewshot`)."""

PhantomModality = Literal["brain", "chest", "oct", "breast", "thyroid", "skin", "fundus"]
"""What phantoms are drawn of (:mod:`sdmad.phantoms`)."""

PhantomStyle = Literal["pretraining", "validation", "test", "distant"]
"""How phantoms are acquired (:mod:`sdmad.phantoms.acquisition`)."""

DataSetName = Literal[
    "chestxray8",
    "oct17",
    "fastmri-plus",
    "bmad-brain",
    "bmad-liver",
    "bmad-resc",
    "bmad-oct2017",
    "bmad-rsna",
    "bmad-camelyon16",
    "mvfa-brain",
    "mvfa-liver",
    "mvfa-resc",
    "mvfa-oct2017",
    "mvfa-rsna",
    "mvfa-camelyon16",
]
"""The public data sets (:mod:`sdmad.data.sets`)."""

ComparedOn = Literal[
    "phantom-brain",
    "phantom-chest",
    "phantom-oct",
    "phantom-breast",
    "phantom-thyroid",
    "phantom-skin",
    "phantom-fundus",
    DataSetName,
]
"""What systems are compared on (:mod:`sdmad.studies.comparison`)."""

ReproducedOn = Literal["phantom", "chestxray8", "oct17", "fastmri-plus", "bmad"]
"""What the paper's tables are made on (:mod:`sdmad.studies.reproduction`)."""

Target = Literal[
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "figure3",
    "figure4",
    "figure5",
    "shots",
    "signs",
]
"""The paper's tables and figures (:mod:`sdmad.studies.reproduction`)."""
