"""``docs/maps.md``: how well a sign's map finds the sign, on phantoms with exact masks.

Run ``make sign-maps``. The way patches are read is chosen on validation phantoms; the reported
figures are of test phantoms, drawn with another seed in another acquisition style.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.made_with import write_page
from sdmad.backbones import Backbone, load_backbone
from sdmad.backbones.transformer import Block, ImageTransformer
from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.data.fewshot import draw_support
from sdmad.detector.base import resize_map
from sdmad.detector.config import SDMADConfig
from sdmad.detector.head import SignHead
from sdmad.detector.maps import compare, patch_features
from sdmad.detector.sdmad import SDMAD
from sdmad.detector.training import SignTexts
from sdmad.evaluation.pixels import PixelScores
from sdmad.method.adapters import AdaptedTower
from sdmad.output import results_folder, write_json
from sdmad.phantoms.cases import STUDIED, load_modality, load_wordings
from sdmad.phantoms.files import PhantomData, write_phantoms
from sdmad.signs import SignBank
from sdmad.table import Table

SHOTS, DRAWS = 4, 2
IMAGES = {"validation": 150, "test": 300}
SEEDS = {"validation": 5000, "test": 6000}
STATES = ("zero-shot", f"{SHOTS} shots")
IN_USE, OWN = "as trained", "own value alone in the last block"
OUTSIDE = "last block left out (no candidate)"
FLOOR, CHANCE, GOOD = 0.5, 0.6, 0.7

Reading = Callable[[AdaptedTower, Tensor], Tensor]


def _tower(image: AdaptedTower) -> ImageTransformer:
    assert isinstance(image.tower, ImageTransformer)
    return image.tower


def _block(tower: ImageTransformer, index: int) -> Block:
    block = tower.blocks[index - 1]
    assert isinstance(block, Block)
    return block


def _unit(tower: ImageTransformer, hidden: Tensor) -> Tensor:
    return normalize(tower.project(hidden[:, 1:]), dim=-1)


def value_value(last: int) -> Reading:
    """V-v attention in the place of the trained one in the last blocks, one upon the other."""

    def read(image: AdaptedTower, pixels: Tensor) -> Tensor:
        tower = _tower(image)
        hidden, state = tower.embed(pixels)
        for index in range(1, tower.depth + 1):
            if index > tower.depth - last:
                mixed = hidden + tower.value_attention(index, hidden)
                hidden = image.adapt(index, _block(tower, index).feed_forward(mixed))
            else:
                hidden = image.adapt(index, tower.block(index, hidden, state))
        return _unit(tower, hidden)

    return read


def side_path(image: AdaptedTower, pixels: Tensor) -> Tensor:
    """Over the last half, what v-v attention adds, summed beside the trunk (CLIP Surgery)."""
    tower = _tower(image)
    hidden, state = tower.embed(pixels)
    side = hidden
    for index in range(1, tower.depth + 1):
        if index > tower.depth // 2:
            side = image.adapt(index, side + tower.value_attention(index, hidden))
        hidden = image.adapt(index, tower.block(index, hidden, state))
        side = side if index > tower.depth // 2 else hidden
    return _unit(tower, side)


def without_last(image: AdaptedTower, pixels: Tensor) -> Tensor:
    """The tokens before the last block, shifted as its output would be."""
    tower = _tower(image)
    hidden, state = tower.embed(pixels)
    for index in range(1, tower.depth):
        hidden = image.adapt(index, tower.block(index, hidden, state))
    return _unit(tower, image.adapt(tower.depth, hidden))


READINGS: Mapping[str, Reading] = {
    IN_USE: lambda image, pixels: patch_features(image, pixels, values=False),
    OWN: lambda image, pixels: patch_features(image, pixels, values=True),
    "v-v attention in the last block": value_value(1),
    "v-v attention in the last two blocks": value_value(2),
    "v-v attention beside the last half": side_path,
    OUTSIDE: without_last,
}


@dataclass(frozen=True)
class Fit:
    """A detector's towers and what it may be judged on.

    Attributes:
        image: the adapted image tower; without adapters for zero-shot.
        head: signs and anchor of the modality's own bank.
        phrases: one sentence a phantom sign instead of the bank's, and the anchor.
        rows: of the phantoms, in ascending order.
    """

    image: AdaptedTower
    head: SignHead
    phrases: SignHead
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """One modality's phantoms of one style."""

    data: PhantomData
    sentences: dict[str, str]
    pixels: Tensor
    masks: dict[str, dict[int, NDArray[np.bool_]]]
    fits: dict[str, list[Fit]]

    def measured(self) -> Iterator[tuple[int, str]]:
        """Signs, numbered, that some image shows in every draw."""
        fits = [fit for state in self.fits.values() for fit in state]
        for number, sign in enumerate(self.sentences):
            if all(set(fit.rows) & set(self.masks[sign]) for fit in fits):
                yield number, sign


def phrases(name: str) -> dict[str, str]:
    """A sentence a phantom sign: the first wording that the embedded backbone never read."""
    words = load_wordings(name)["signs"]
    return {sign: words[sign]["held_out"][0] for sign in load_modality(name).signs}


def prepare(name: str, style: str, folder: Path, backbone: Backbone) -> Study:
    """Draw the phantoms unless they are there, read them, and fit on each draw."""
    modality, bank = load_modality(name), SignBank.load(name)
    target = folder / f"{name}-{style}"
    if not (target / "labels.csv").exists():
        write_phantoms(modality, target, IMAGES[style], SEEDS[style], style)
    data, sentences, everything = PhantomData(target, modality), phrases(name), range(IMAGES[style])
    shown = {
        sign: {row: data.sign_mask(row, sign) for row in everything if sign in data.signs[row]}
        for sign in sentences
    }
    masks = {s: {row: mask for row, mask in m.items() if mask.any()} for s, m in shown.items()}
    every = SignBank("phrases", bank.modality, bank.normal, {s: (t,) for s, t in sentences.items()})

    def head(of: SignBank, text: AdaptedTower) -> SignHead:
        config = SDMADConfig(selection="none", pooling="mean").signs_alone()
        with torch.no_grad():
            return SignHead.build(SignTexts(of, backbone, text)(), of, config)

    bare = AdaptedTower(backbone.text, {})
    zero = ZeroShotCLIP(bank, backbone).head
    untrained = AdaptedTower(backbone.image, {})
    fits = {
        STATES[0]: [Fit(untrained, zero, head(every, bare), tuple(everything))],
        STATES[1]: [],
    }
    for seed in range(DRAWS):
        support = draw_support(data.table, SHOTS, seed)
        drawn = data.table.subset(support.indices)
        detector = SDMAD(bank, backbone, seed=seed).fit(drawn.files, drawn.labels)
        rows = tuple(np.flatnonzero(support.evaluation(data.table)).tolist())
        state = detector.state_
        trained = head(every, state.texts.tower)
        fits[STATES[1]].append(Fit(state.image, state.head, trained, rows))
    pixels = torch.cat([backbone.preprocessing([file]) for file in data.table.files])
    return Study(data, sentences, pixels, masks, fits)


def auroc(small: Tensor, masks: Sequence[NDArray[np.bool_]]) -> float:
    """Pixel AUROC of maps ``(n, h, h)`` over all pixels of n images."""
    scores = PixelScores()
    for one, mask in zip(small, masks, strict=True):
        scores.add(resize_map(one, (mask.shape[0], mask.shape[1])), mask)
    return scores.auroc()


def choice_cells(study: Study) -> dict[str, float]:
    """Mean over the signs of the pixel AUROC on images that show it, by reading and state."""
    cells = {}
    for name, reading in READINGS.items():
        for state, fits in study.fits.items():
            found: dict[str, list[float]] = {"cosine": [], "less anchor": []}
            for fit in fits:
                with torch.no_grad():
                    maps = compare(fit.phrases, reading(fit.image, study.pixels))
                for number, sign in study.measured():
                    rows = [row for row in study.masks[sign] if row in set(fit.rows)]
                    masks = [study.masks[sign][row] for row in rows]
                    cosine = maps.signs[rows, number]
                    found["cosine"].append(auroc(cosine, masks))
                    found["less anchor"].append(auroc(cosine - maps.anchor[rows], masks))
            for less, values in found.items():
                cells[f"{name}/{less}/{state}"] = float(np.mean(values))
    return cells


def report_cells(study: Study) -> dict[str, Any]:
    """Figures of each sign's map, mean over the draws, and of the anomaly map."""
    signs: dict[str, dict[str, Any]] = {
        sign: {"sentence": study.sentences[sign], "images": len(study.masks[sign])}
        for _, sign in study.measured()
    }
    anomaly = {}
    for state, fits in study.fits.items():
        seen: list[float] = []
        for fit in fits:
            with torch.no_grad():
                features = patch_features(fit.image, study.pixels)
            maps = compare(fit.phrases, features).signs
            for number, sign in study.measured():
                for kind, value in sign_figures(maps[:, number], study.masks[sign], fit.rows):
                    signs[sign].setdefault(f"{state}/{kind}", []).append(value)
            whole = [study.data.mask(row) for row in fit.rows]
            seen.append(
                auroc(
                    compare(fit.head, features).anomaly[list(fit.rows)],
                    [mask for mask in whole if mask is not None],
                )
            )
        anomaly[state] = float(np.mean(seen))
    for figures in signs.values():
        figures |= {k: float(np.mean(v)) for k, v in figures.items() if isinstance(v, list)}
    missing = [sign for sign in study.sentences if sign not in signs]
    return {"signs": signs, "anomaly": anomaly, "missing": missing}


def sign_figures(
    maps: Tensor, masks: Mapping[int, NDArray[np.bool_]], rows: Sequence[int]
) -> Iterator[tuple[str, float]]:
    """Pixel AUROC on the images that show a sign, over all, and of its place alone.

    The last puts the mean map of the images that do not show it in the place of each map.
    """
    showing = [row for row in rows if row in masks]
    others = [row for row in rows if row not in masks]
    mine = [masks[row] for row in showing]
    yield "showing", auroc(maps[showing], mine)
    empty = np.zeros_like(mine[0])
    yield "all", auroc(maps[list(rows)], [masks.get(row, empty) for row in rows])
    usual = maps[others].mean(dim=0)
    yield "place", auroc(usual.expand(len(showing), -1, -1), mine)


def run(folder: Path) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """Run what is missing; a file a modality and style."""
    backbone = load_backbone("lite")
    results_folder(folder)
    kinds: tuple[tuple[str, Callable[[Study], Any]], ...] = (
        ("validation", choice_cells),
        ("test", report_cells),
    )
    found: dict[str, dict[str, Any]] = {style: {} for style, _ in kinds}
    for style, measure in kinds:
        for name in STUDIED:
            path = folder / f"{name}-{style}.json"
            if not path.exists():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    write_json(path, measure(prepare(name, style, folder, backbone)))
                print(path.stem, flush=True)
            found[style][name] = json.loads(path.read_text(encoding="utf-8"))
    return found["validation"], found["test"]


def choice_table(cells: Mapping[str, Mapping[str, float]]) -> Table:
    """One row a reading, the best by the rule first; the one in use is marked."""
    rows = []
    for name in READINGS:
        for less in ("cosine", "less anchor"):
            values = [cells[m][f"{name}/{less}/{state}"] for state in STATES for m in cells]
            mark = "in use" if (name, less) == (IN_USE, "cosine") else ""
            told = [f"{100 * value:.1f}" for value in (*values, np.mean(values))]
            rows.append((float(np.mean(values)), (mark, name, less, *told)))
    rows.sort(key=lambda row: -row[0])
    header = ("", "Patches read", "Map", *(f"{m}, {s}" for s in STATES for m in cells), "Mean")
    return Table("Readings on validation phantoms", header, tuple(row for _, row in rows), "")


def sign_table(name: str, figures: Mapping[str, Any]) -> Table:
    """One row a sign of one modality."""
    kinds = [(state, kind) for state in STATES for kind in ("showing", "all", "place")]
    rows = [
        (
            sign + (" *" if sign in load_modality(name).unseen else ""),
            one["sentence"],
            str(one["images"]),
            *(f"{100 * one[f'{state}/{kind}']:.1f}" for state, kind in kinds),
        )
        for sign, one in figures["signs"].items()
    ]
    shown = {"showing": "showing it", "all": "all images", "place": "place alone"}
    header = ("Sign", "Sentence", "Images", *(f"{state}: {shown[kind]}" for state, kind in kinds))
    caption = "A star: pretraining never drew or named it."
    if figures["missing"]:
        caption += f" No figure, for want of images that show it: {', '.join(figures['missing'])}."
    return Table(f"{name}: pixel AUROC of each sign's map", header, tuple(rows), caption)


def share_table(cells: Mapping[str, Mapping[str, Any]]) -> Table:
    """Shares of signs above chance and above 70, one row a modality and state."""
    rows = []
    pooled = [one for figures in cells.values() for one in figures["signs"].values()]
    for state in STATES:
        for name in (*cells, "all"):
            signs = pooled if name == "all" else list(cells[name]["signs"].values())
            values = {k: np.array([s[f"{state}/{k}"] for s in signs])
                      for k in ("showing", "all", "place")}  # fmt: skip
            shares = (
                *((values[kind] > limit).mean() for kind in ("showing", "all")
                  for limit in (FLOOR, GOOD)),
                (values["showing"] > values["place"]).mean(),
            )  # fmt: skip
            anomaly = f"{100 * cells[name]['anomaly'][state]:.1f}" if name in cells else "-"
            means = [f"{100 * values[kind].mean():.1f}" for kind in ("showing", "all", "place")]
            told = [f"{100 * share:.0f}" for share in shares]
            rows.append((f"{name}, {state}", str(len(signs)), *means, *told, anomaly))
    header = (
        *("Modality", "Signs", "Mean, showing it", "Mean, all images", "Mean, place alone"),
        *("Above 50, showing it", "Above 70, showing it", "Above 50, all", "Above 70, all"),
        *("Above its place alone", "Anomaly map"),
    )
    caption = "Means in percent; shares in percent of the signs. Anomaly map: all images."
    return Table("All signs", header, tuple(rows), caption)


def weak(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Which signs' maps fail, as Markdown: a paragraph a state."""

    def named(state: str, fails: Callable[[Mapping[str, float]], bool]) -> str:
        found = [
            f"{sign} ({name})"
            for name, figures in cells.items()
            for sign, one in figures["signs"].items()
            if fails({k: one[f"{state}/{k}"] for k in ("showing", "all", "place")})
        ]
        return ", ".join(found) or "none"

    lines = []
    for state in STATES:
        inverted = named(state, lambda one: min(one["showing"], one["all"]) < FLOOR)
        chance = named(state, lambda one: FLOOR <= min(one["showing"], one["all"]) < CHANCE)
        place = named(state, lambda one: one["showing"] <= one["place"])
        lines += [
            f"**{state}.** Inverted (below {100 * FLOOR:.0f} on the images that show it or on all "
            f"images): {inverted}. Near chance (below {100 * CHANCE:.0f}): {chance}. No better "
            f"than the sign's usual place: {place}.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run the study and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/sign-maps"))
    parser.add_argument("--docs", type=Path, default=Path("docs/maps.md"))
    options = parser.parse_args()
    choice, report = run(options.out)
    page = Path(__file__).with_name("sign_maps_page.md").read_text(encoding="utf-8")
    tables = "\n".join(sign_table(name, figures).markdown() for name, figures in report.items())
    page = page.replace("{weak}", weak(report))
    page = page.replace("{choice}", choice_table(choice).markdown())
    page = page.replace("{shares}", share_table(report).markdown())
    write_page(options.docs, page.replace("{signs}", tables))


if __name__ == "__main__":
    main()
