"""A fingerprint of what every system says of some phantoms: are two commits the same to the bit?

Run on one commit, then on the other, on the same machine, and compare the files::

    OMP_NUM_THREADS=1 python -m benchmarks.same_scores --out before.json
    OMP_NUM_THREADS=1 python -m benchmarks.same_scores --out after.json
    diff before.json after.json

It uses nothing but names that every commit has: the registry, the detector, phantoms and banks.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from sdmad import SDMAD, SDMADConfig, SignBank, load_backbone
from sdmad.baselines import registry
from sdmad.baselines.registry import Auxiliary, Build, load_system
from sdmad.errors import SDMADError
from sdmad.phantoms.cases import draw_cases, load_modality

SUPPORT, TEST, AUXILIARY = 14, 24, 8
SEED = 11
NAMES: Any = getattr(registry, "SYSTEMS", None) or registry.MODULES  # as it was called before
CONFIGS = {
    "recommended": SDMADConfig(),
    "paper": SDMADConfig.paper(),
    "paper without selection": SDMADConfig.paper(selection="none"),
    "fpr": SDMADConfig(decision="fpr:0.1"),
}


def fingerprint(values: Any) -> str:
    """Hash of an array's type, shape and bytes."""
    array = np.ascontiguousarray(values)
    return hashlib.sha256(
        repr((array.dtype.str, array.shape)).encode() + array.tobytes()
    ).hexdigest()[:16]


def of_scores(scores: Any) -> dict[str, str]:
    """Hash of each part of what a detector said."""
    return {f.name: fingerprint(getattr(scores, f.name)) for f in dataclasses.fields(scores)}


def quick(settings: Any) -> Any:
    """The same settings with fewer passes, where they name them."""
    if not dataclasses.is_dataclass(settings) or not hasattr(settings, "epochs"):
        return settings
    return dataclasses.replace(settings, epochs=min(settings.epochs, 3))


class Phantoms:
    """Images, labels and masks of one modality."""

    def __init__(self, name: str) -> None:
        self.modality, self.bank = load_modality(name), SignBank.load(name)
        cases = list(draw_cases(self.modality, SUPPORT + TEST, SEED, "test"))
        self.images = [case.image for case in cases]
        self.labels = np.array(
            [[float(c in case.categories) for c in self.bank.names] for case in cases]
        )
        self.masks = [
            np.logical_or.reduce([np.zeros(case.image.shape, bool), *case.masks.values()])
            for case in cases
        ]

    def auxiliary(self) -> Auxiliary:
        """Images of another modality."""
        cases = list(draw_cases(load_modality("oct"), AUXILIARY, SEED, "pretraining"))
        masks = tuple(
            np.logical_or.reduce([np.zeros(case.image.shape, bool), *case.masks.values()])
            for case in cases
        )
        abnormal = np.array([bool(case.categories) for case in cases])
        return Auxiliary(tuple(c.image for c in cases), abnormal, masks, ("OCT",) * len(cases))


def system(name: str, phantoms: Phantoms) -> dict[str, str]:
    """What one system of the registry says."""
    found = load_system(name)
    build = Build(phantoms.bank, load_backbone("lite"), SEED, phantoms.auxiliary)
    detector: Any = found.build(build, quick(found.settings_on(build.backbone)))
    if (hasattr(detector, "forget_categories") and "dra" in name) or "bgad" in name:
        detector.forget_categories()
    detector.fit(
        phantoms.images[:SUPPORT], phantoms.labels[:SUPPORT], masks=phantoms.masks[:SUPPORT]
    )
    pixels = detector.preprocessing(phantoms.images[SUPPORT:])
    said = of_scores(detector.score_pixels(pixels))
    if found.maps:
        said["maps"] = fingerprint(detector.map_pixels(pixels[:4]).float().numpy())
    return said


def own(config: SDMADConfig, phantoms: Phantoms) -> dict[str, Any]:
    """What SD-MAD says, before and after it was saved."""
    detector: Any = SDMAD(phantoms.bank, config=config, seed=SEED)
    detector.fit(phantoms.images[:SUPPORT], phantoms.labels[:SUPPORT])
    test = phantoms.images[SUPPORT:]
    if config.decision.startswith("fpr"):
        detector.fit_thresholds([image for image in phantoms.images if image is not None][:10])
    said = {
        "scores": fingerprint(detector.decision_function(test)),
        "decisions": fingerprint(detector.predict(test)),
        "losses": fingerprint([epoch.loss for epoch in detector.log_]),
        "explanation": hashlib.sha256(repr(detector.explain(test[0])).encode()).hexdigest()[:16],
        "without selection": fingerprint(
            detector.with_inference(selection="none").decision_function(test)
            if not config.decision.startswith("fpr")
            else 0
        ),
        "map": fingerprint(next(iter(detector.sign_maps(test[0])))),
    }
    with tempfile.TemporaryDirectory() as folder:
        detector.save(Path(folder) / "model")
        said["loaded"] = fingerprint(SDMAD.load(Path(folder) / "model").decision_function(test))
    return said


def main() -> None:
    """Write the fingerprints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {}
    for modality in ("brain", "oct"):
        phantoms = Phantoms(modality)
        for title, config in CONFIGS.items():
            found[f"{modality}: SDMAD {title}"] = own(config, phantoms)
        for name in NAMES if modality == "brain" else ():
            try:
                found[f"{modality}: {name}"] = system(name, phantoms)
            except SDMADError as error:
                found[f"{modality}: {name}"] = type(error).__name__
            print(name, flush=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
