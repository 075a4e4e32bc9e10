"""``docs/performance.md`` and the one table of ``make bench``, from the sections' figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks import made_with
from benchmarks.performance.common import BATCH, Figures
from sdmad.output import write_bytes
from sdmad.table import Table

Row = tuple[str, ...]
PAGE = Path(__file__).with_name("page.md")
MISSING = "not measured"
TITLES = {
    "images": "images scored",
    "categories": "categories (fit, 10 signs, 1 shot)",
    "signs": "signs a category (fit, 8 categories, 1 shot)",
    "shots": "shots (fit, 8 categories, 10 signs)",
    "pixels": "side in pixels (ViT-L/14 image tower, 4 images)",
}


def told(figures: Figures, digits: int = 2, scale: float = 1.0) -> str:
    """Median with the smallest and the largest run."""
    median, low, high = (scale * figures[k] for k in ("median", "low", "high"))
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def goal(what: str, value: str, aim: str, reached: bool) -> Row:
    """One aim: what came out of it, and whether it is reached."""
    return what, value, aim, "yes" if reached else "NO"


def fit_goals(found: Figures) -> list[Row]:
    """Of training."""
    rows: list[Row] = []
    if "steps" in found:
        step = found["steps"]["times"]
        for name, aim in (("float32", 2.0), ("bfloat16", 3.5)):
            if name in step:
                ratio = step["reference"]["median"] / step[name]["median"]
                what = f"Fit step, {name}, times the reference"
                rows.append(goal(what, f"{ratio:.2f}", f"{aim}", ratio >= aim))
    if "fits" in found:
        agreed = max(found["fits"]["agreement"].values())
        what = "Losses and scores against the reference"
        rows.append(goal(what, f"{agreed:.1e}", "1e-3", agreed <= 1e-3))
        gaps = [
            np.mean(one["bfloat16"]) - np.mean(one["float32"])
            for one in found["fits"]["whole_fits"].values()
            if "bfloat16" in one
        ]
        if gaps:
            what = "Lite fits in bfloat16, points of AUROC, worst modality"
            rows.append(goal(what, f"{min(gaps):+.2f}", "-0.5", min(gaps) >= -0.5))
    return rows


def score_goals(found: Figures) -> list[Row]:
    """Of scoring in PyTorch and of exports."""
    rows: list[Row] = []
    if "scoring" in found:
        times = found["scoring"]["times"]
        for name in ("float32", "bfloat16"):
            if f"sdmad, {name}" in times:
                over = over_bare(times, name)
                what = f"Adapters and scoring over the bare tower, PyTorch {name}"
                rows.append(goal(what, f"{over:+.1f} %", "3 %", over <= 3))
    if "exports" in found:
        times = found["exports"]["times"]
        for name, aim in (("bf16", 2.2), ("int8", 4.0), ("int8 196", 6.0), ("int8 168", 6.0)):
            ratio = 1 / relative(times, f"export openvino {name}", "bare torch f32")
            shown = name.replace(" ", " at ") + (" px" if " " in name else "")
            what = f"Export, OpenVINO {shown}, times the bare PyTorch float32 tower"
            rows.append(goal(what, f"{ratio:.2f}", f"{aim}", ratio >= aim))
        for name in ("f32", "bf16", "int8"):
            ratio = relative(times, f"export openvino {name}", f"bare openvino {name}")
            over = 100 * (ratio - 1)
            what = f"The whole export over its bare tower, OpenVINO {name}"
            rows.append(goal(what, f"{over:+.1f} %", "3 %", over <= 3))
    return rows


def command_goals(found: Figures) -> list[Row]:
    """Of reading, whole commands and evaluation."""
    rows: list[Row] = []
    if "reading" in found:
        for kind, one in found["reading"]["files"].items():
            share = 100 * one["waited"] / (one["waited"] + one["worked"])
            what = f"Tower waits for 1,000 {kind} files"
            rows.append(goal(what, f"{share:.2f} %", "5 %", share <= 5))
    if "commands" in found:
        few, many = found["commands"]["many_images"].values()
        over = 100 * (many["mib"] / few["mib"] - 1)
        what = "Peak memory, 10,000 images over 500"
        rows.append(goal(what, f"{over:+.1f} %", "10 %", over <= 10))
        aims = {"sdmad --help": 0.5, "sdmad predict": 4.0, "sdmad demo": 120.0}
        for name, aim in aims.items():
            median = found["commands"]["start_up"][name]["median"]
            shown = f"{name}, one image, embedded" if name == "sdmad predict" else name
            rows.append(goal(shown, f"{median:.2f} s", f"{aim:g} s", median <= aim))
    if "evaluation" in found:
        median = found["evaluation"]["resampling"]["median"]
        what = "112,000 x 14 scores, 1,000 resamples of every metric"
        rows.append(goal(what, f"{median:.1f} s", "60 s", median <= 60))
    return rows


def goals(found: Figures) -> list[Row]:
    """What was aimed at, what came out, and whether it is reached."""
    return fit_goals(found) + score_goals(found) + command_goals(found)


def relative(
    times: dict[str, list[dict[str, float]]], system: str, base: str, unit: str = "ms"
) -> float:
    """A system's time over another's in the same round, median over the rounds."""
    pairs = zip(times[system], times[base], strict=True)
    return float(np.median([one[unit] / other[unit] for one, other in pairs]))


def over_bare(times: dict[str, Figures], name: str) -> float:
    """How much longer scoring takes than the bare tower, in percent."""
    ratio: float = times[f"sdmad, {name}"]["median"] / times[f"bare tower, {name}"]["median"]
    return 100 * (ratio - 1)


def fit_tables(step: Figures, found: Figures) -> list[Table]:
    """A training step, sharing, and whole fits."""
    base, count = step["times"]["reference"]["median"], step["count"]
    rows = [
        (name, told(times), f"{base / times['median']:.2f}", f"{step['losses'][name]:.5f}")
        for name, times in step["times"].items()
    ]
    rows.append(("by count of operations", "", f"{count['reference'] / count['ours']:.2f}", ""))
    fits = found["whole_fits"]
    kinds = list(next(iter(fits.values())))
    return [
        Table(
            f"A training step, ViT-L/14 at 240 px, batch {BATCH}, 14 categories of ten signs",
            ("What", "Seconds", "Times the reference", "First loss"), tuple(rows),
            "The reference runs both whole towers in float32; the count is what a step can save at "
            f"most in float32. Before the first step: {step['prepared']['first']:.2f} s for what "
            f"never changes, {step['prepared']['another']:.2f} s in a further fit on these images.",
        ),
        Table(
            "Whole fits of the embedded backbone on phantoms, 4 shots, three draws: mean AUROC",
            ("Modality", *kinds),
            tuple((m, *(f"{np.mean(one[k]):.2f}" for k in kinds)) for m, one in fits.items()), "",
        ),
    ]  # fmt: skip


def score_table(found: Figures, others: dict[str, Figures]) -> Table:
    """Scoring in PyTorch, beside the bare towers of others."""
    times = {**found["times"], **others}
    base, scale = times["bare tower, float32"]["median"], 1000 / found["images"]
    rows = [
        (name, told(one, 0, scale), f"{base / one['median']:.2f}") for name, one in times.items()
    ]
    return Table(
        "Scoring in PyTorch, ViT-L/14 at 240 px, batch 4",
        ("What", "ms an image", "Times the bare float32 tower"), tuple(rows),
        "Bare towers: this package's, transformers' and open_clip's (in the environment of the "
        "extras, whose torch is another build), from pixel values to embeddings.",
    )  # fmt: skip


def export_table(found: Figures) -> Table:
    """Exports beside their bare towers and PyTorch's."""
    times, rows = found["times"], []
    for system, rounds in times.items():
        kind, runtime, precision = system.split()[:3]
        over = ""
        if kind != "bare" and len(system.split()) == 3:
            bare = f"bare {runtime} {precision}"
            wall, busy = (
                100 * (relative(times, system, bare, unit) - 1) for unit in ("ms", "cpu_ms")
            )
            over = f"{wall:+.1f} % ({busy:+.1f} %)"
        spent = [one["ms"] for one in rounds]
        told = f"{np.median(spent):.0f} ({min(spent):.0f} to {max(spent):.0f})"
        quicker = 1 / relative(times, system, "bare torch f32")
        rows.append((system, told, f"{quicker:.2f}", over))
    cosines = ", ".join(f"{p} {c:.5f}" for p, c in found["cosines"].items())
    return Table(
        "Exports, ViT-L/14, batch 4",
        ("System", "ms an image", "Times bare PyTorch float32", "Over its own bare tower"),
        tuple(rows),
        "At 240 px where no size is named. Ratios are medians over the rounds, in each of which "
        "every system ran once. In brackets behind the last ratio the processor's time. Smallest "
        f"cosine of a bare OpenVINO tower's embeddings with float32's: {cosines}.",
    )


def price_table(auroc: Figures) -> Table:
    """What precision and size cost in AUROC."""
    names = list(next(iter(auroc.values())))
    means = {n: np.array([np.mean(one[n]) for one in auroc.values()]) for n in names}
    best = means[names[0]]
    rows = [(n, *(f"{v:.2f}" for v in means[n]), f"{(means[n] - best).mean():+.2f}") for n in names]
    return Table(
        "The price: exports of the embedded backbone on phantoms, mean AUROC, mean of two draws",
        ("Export", *auroc, "Mean difference"), tuple(rows),
        "48 support images, 400 judged, a modality and draw. 240, 192 and 144 px of lite are "
        "100, 64 and 36 tokens; 240, 196 and 168 px of a ViT-L/14 are 289, 196 and 144. Fitted at "
        "the size at which it is used.",
    )  # fmt: skip


def other_tables(found: Figures) -> list[Table]:
    """Reading, memory, evaluation."""
    tables = []
    if "reading" in found:
        rows = [
            (kind, f"{one['alone']:.1f}", f"{one['waited']:.2f}", f"{one['worked']:.0f}",
             f"{100 * one['waited'] / (one['waited'] + one['worked']):.2f} %")
            for kind, one in found["reading"]["files"].items()
        ]  # fmt: skip
        tables.append(Table(
            f"1,000 files of 512 px beside a ViT-L/14 in {found['reading']['precision']}",
            ("Files", "Reading alone, s", "Tower waited, s", "Tower worked, s", "Waited"),
            tuple(rows), "",
        ))  # fmt: skip
    if "commands" in found:
        many = found["commands"]["many_images"]
        tables.append(Table(
            "sdmad predict with the embedded backbone on many files",
            ("Images", "Peak, MiB", "ms an image, start-up included"),
            tuple((f"{int(n):,}", f"{one['mib']:.0f}", f"{1000 * one['seconds'] / int(n):.1f}")
                  for n, one in many.items()), "",
        ))  # fmt: skip
        tables.append(Table(
            "Whole commands", ("Command", "Seconds"),
            tuple((n, told(one)) for n, one in found["commands"]["start_up"].items()), "",
        ))  # fmt: skip
    if "evaluation" in found:
        pixels = found["evaluation"]["pixels"]
        tables.append(Table(
            "Evaluation",
            ("What", "Seconds", "Peak, MB"),
            (("112,000 images x 14 categories, 1,000 resamples of every metric",
              told(found["evaluation"]["resampling"], 1), ""),
             ("pixel AUROC, AUPRO and Dice of 10,000 maps of 240 x 240",
              f"{pixels['adding'] + pixels['reading']:.1f}",
              f"{pixels['mib']:.0f} ({pixels['mib_before']:.0f} before the first map)")), "",
        ))  # fmt: skip
    return tables


def limit_tables(found: Figures) -> list[Table]:
    """The limit by count, and the profile."""
    times, images, rows = found["times"], found["images"], []
    for name in (n.partition(", ")[2] for n in times if n.startswith("products")):
        rate = found["product_operations"] / times[f"products, {name}"]["median"]
        least = found["operations"] / rate
        spent = times[f"scoring, {name}"]["median"] / images
        rows.append(
            (name, f"{rate / 1e9:.0f}", f"{1000 * least:.0f}", f"{1000 * spent:.0f}",
             f"{100 * least / spent:.0f} %")
        )  # fmt: skip
    profiles = found["profiles"]
    kinds = list(next(iter(profiles.values())))
    return [
        Table(
            f"The limit: {found['operations'] / 1e9:.0f} x 10^9 operations of ViT-L/14 on an image",
            ("Precision", "10^9 operations a second", "Least ms an image", "sdmad, ms an image",
             "Share of the limit"),
            tuple(rows),
            "The rate is that of the tower's feed-forward products alone, run by turns with "
            "scoring; the least time is the count of the whole tower at that rate.",
        ),
        Table(
            "Where the time goes, percent of the processor's time", ("What", *kinds),
            tuple((name, *(f"{one[k]:.1f}" for k in kinds)) for name, one in profiles.items()),
            "torch.profiler, ViT-L/14 at 240 px; of a step also the gradients.",
        ),
    ]  # fmt: skip


def growth_picture(found: Figures) -> bytes:
    """Every curve with its range."""
    figure, axes = plt.subplots(1, len(TITLES), figsize=(15, 3.2), layout="constrained")
    for axis, (name, title) in zip(axes, TITLES.items(), strict=True):
        curve = found["curves"][name]
        x = [int(n) for n in curve]
        y = np.array([[one[k] for k in ("median", "low", "high")] for one in curve.values()])
        axis.fill_between(x, y[:, 1], y[:, 2], alpha=0.25, lw=0)
        axis.plot(x, y[:, 0], marker="o")
        axis.set(xlabel=title.replace(" (", "\n("), ylim=(0, None), xlim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds")
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=90)
    plt.close(figure)
    return held.getvalue()


def growth_table(found: Figures) -> Table:
    """The same as numbers."""
    rows = [
        (TITLES[name], ", ".join(str(n) for n in curve),
         ", ".join(f"{one['median']:.2f}" for one in curve.values()))
        for name, curve in found["curves"].items()
    ]  # fmt: skip
    return Table(
        "How cost grows", ("With", "At", "Seconds"), tuple(rows),
        f"Medians of five. Fits: {found['epochs']} epochs from frozen tokens. The tower of "
        f"ViT-L/14 runs in {found['precision']} on {found['few']} images.",
    )  # fmt: skip


def write_page(found: Figures, docs: Path) -> Table:
    """Write the page and its picture.

    Args:
        found: figures by section; a section may be missing.
        docs: the page.

    Returns:
        The one table of all aims.
    """
    summary = Table(
        "What is aimed at", ("What", "Measured", "Aim", "Reached"), tuple(goals(found)), ""
    )
    tables: list[Table] = [summary]
    if "steps" in found and "fits" in found:
        tables += fit_tables(found["steps"], found["fits"])
    if "scoring" in found:
        tables.append(score_table(found["scoring"], found.get("others", {})))
    if "exports" in found:
        tables.append(export_table(found["exports"]))
    if "price" in found:
        tables.append(price_table(found["price"]))
    tables += other_tables(found)
    if "limits" in found:
        tables += limit_tables(found["limits"])
    parts = [head(found["machine"]), PAGE.read_text(encoding="utf-8")]
    parts += [table.markdown() for table in tables]
    if "growth" in found:
        picture = docs.with_name("performance-growth.png")
        write_bytes(picture, growth_picture(found["growth"]))
        parts += [growth_table(found["growth"]).markdown(), f"![How cost grows]({picture.name})\n"]
    made_with.write_page(docs, "\n".join(parts))
    return summary


def head(machine: Sequence[Figures] | Figures) -> str:
    """Title and machine."""
    one = dict(machine)
    return (
        "# Performance\nWritten by `make bench`; do not edit by hand. One machine: "
        f"{one['processor']}, {one['cores']} cores, bfloat16 "
        f"{'native' if one['bfloat16'] else 'not native'}, torch {one['torch']}, "
        f"{one['threads']} threads. Ratios are within one run, medians of five or more with the "
        "smallest and largest run in brackets. ViT-L/14 has random weights.\n"
    )
