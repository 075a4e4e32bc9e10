"""Every compared system on the same data, shots, draws and protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from sdmad._version import __version__
from sdmad.backbones import Backbone, load_backbone
from sdmad.baselines.registry import MODULES, System, load_system
from sdmad.data.fewshot import draw_support
from sdmad.data.plane import ImageError
from sdmad.detector.precision import choose_device
from sdmad.errors import InputError, MissingExtraError, SDMADError, WeightsMissingError
from sdmad.evaluation.intervals import DrawSummary
from sdmad.output import results_folder, write_bytes, write_csv, write_json, write_text
from sdmad.reporting.curves import interval_plot, loss_plot
from sdmad.reporting.tables import METRIC_TITLES
from sdmad.studies.comparison.material import PHANTOM_IMAGES, Material, Say, open_material
from sdmad.studies.comparison.runs import outcome_folder, run_system
from sdmad.studies.comparison.tables import (
    PROTOCOLS,
    Compared,
    Gap,
    added_loss_gaps,
    all_summaries,
    best_peer_gaps,
    by_category_table,
    cost_table,
    gap_tables,
    loss_logs,
    protocol_table,
)
from sdmad.studies.study import counted
from sdmad.table import Table

RESAMPLES = 1000
QUICK_IMAGES = 150


@dataclass(frozen=True)
class Comparison:
    """What to compare.

    Attributes:
        data: ``phantom-brain`` and its like, or a data set's name.
        out: folder for the results and the outcomes behind them.
        root: the data set's folder; None for phantoms.
        systems: names from the registry; empty for all.
        shots: images a category.
        seeds: number of draws.
        backbone: what :func:`~sdmad.load_backbone` takes.
        bank: a bank instead of the data set's own.
        image_size: input side in pixels; the checkpoint's own when None.
        device: auto, cpu or cuda.
        medclip: folder with MedCLIP's weights, for its rows; None leaves these out.
        quick: one draw of fewer phantoms, and systems for one kind of anomaly answer only whether
            an image is abnormal; the result says so.
    """

    data: str
    out: Path
    root: Path | None = None
    systems: tuple[str, ...] = ()
    shots: int = 4
    seeds: int = 5
    backbone: str = "nano"
    bank: str | None = None
    image_size: int | None = None
    device: str = "auto"
    medclip: str | None = None
    quick: bool = False


def compare(asked: Comparison, say: Say) -> list[Path]:
    """Run what is missing, and write tables and plots.

    Args:
        asked: what to compare.
        say: told what is being done.

    Returns:
        The files that were written.

    Raises:
        SDMADError: if something given cannot be used.
    """
    if asked.quick:
        asked = replace(asked, seeds=1)
    systems = [load_system(name) for name in asked.systems or tuple(MODULES)]
    results_folder(asked.out)
    images = QUICK_IMAGES if asked.quick else PHANTOM_IMAGES
    material = open_material(asked.data, asked.root, asked.bank, asked.out, say, images)
    backbone = load_backbone(asked.backbone, asked.image_size).to(choose_device(asked.device))
    towers = dict.fromkeys((system.name for system in systems), backbone)
    if asked.medclip is not None:
        from sdmad.backbones.medclip import load_given_medclip

        medclip = load_given_medclip(asked.medclip).to(choose_device(asked.device))
        towers |= {name: medclip for name in towers if MODULES.get(name) == "medclip"}
    compared = [
        run_one(system, asked, material, towers[system.name], say, asked.quick)
        for system in systems
    ]
    if not any(one.outcomes for one in compared):
        reasons = "; ".join(f"{one.system.name}: {one.why_not}" for one in compared)
        raise InputError(f"no system could be run: {reasons}")
    say("intervals")
    return write_comparison(asked, material, backbone, compared)


def run_one(
    system: System,
    asked: Comparison,
    material: Material,
    backbone: Backbone,
    say: Say,
    general_only: bool,
) -> Compared:
    """All draws of one system; where it cannot be run, the reason.

    Args:
        system: what to run.
        asked: shots, draws and the folder of the outcomes.
        material: on what.
        backbone: the frozen model.
        say: told of each draw.
        general_only: systems for one kind of anomaly answer only whether an image is abnormal.

    Raises:
        SDMADError: if it fails for another reason.
    """
    folder = outcome_folder(asked.out, material, backbone, general_only)
    outcomes = []
    for seed in range(asked.seeds):
        say(f"{system.title}: draw {seed + 1} of {asked.seeds}")
        try:
            outcomes.append(
                run_system(system, material, backbone, asked.shots, seed, folder, general_only)
            )
        except ImageError:
            raise  # no system could do with it
        except (InputError, MissingExtraError, WeightsMissingError) as error:
            say(f"{system.title} left out: {error}")
            return Compared(system, (), _reason(error), str(error))
    return Compared(system, tuple(outcomes))


def _reason(error: SDMADError) -> str:
    """Why a system has no row, in two words."""
    if isinstance(error, MissingExtraError):
        return "extra missing"
    return "weights missing" if isinstance(error, WeightsMissingError) else "not possible"


def write_comparison(
    asked: Comparison, material: Material, backbone: Backbone, compared: Sequence[Compared]
) -> list[Path]:
    """Write ``comparison.md``, ``.json``, a CSV and a plot a protocol, and the costs.

    Returns:
        The files.

    Raises:
        SDMADError: if one cannot be written.
    """
    summaries = all_summaries(compared, RESAMPLES)
    tables: dict[str, Table] = {
        name: protocol_table(name, compared, summaries) for name in PROTOCOLS
    }
    by_category = by_category_table(compared, material.bank.names)
    tables |= {"categories": by_category} if by_category else {}
    best_peer = best_peer_gaps(compared, summaries, RESAMPLES)
    added_loss = added_loss_gaps(compared, RESAMPLES)
    tables |= gap_tables(best_peer, added_loss)
    tables["costs"] = cost_table(compared)
    files = []
    for name, table in tables.items():
        files.append(asked.out / f"{name}.csv")
        write_csv(files[-1], list(table.header), [list(row) for row in table.rows])
    titles = {c.system.name: c.title for c in compared if c.outcomes}
    for name, metrics in PROTOCOLS.items():
        shown = [METRIC_TITLES[m] for m in metrics[:2]]
        rows = {
            title: [summaries[key][m] for m in metrics[:2]]
            for key, title in titles.items()
            if name == "general" or not title.endswith("°")
        }
        if rows:
            files.append(asked.out / f"{name}.png")
            write_bytes(files[-1], interval_plot(rows, shown))
    logs = loss_logs(compared)
    if logs:
        files.append(asked.out / "losses.png")
        write_bytes(files[-1], loss_plot(logs))
    head = _head(asked, material, backbone)
    page = [f"# {'QUICK comparison' if asked.quick else 'Comparison'}: {material.data.name}", ""]
    page += [*(f"- {line}" for line in head), ""]
    for name, table in tables.items():
        page.append(table.markdown())
        if asked.out / f"{name}.png" in files:
            page += [f"![{table.title}]({name}.png)", ""]
        if name == "costs" and logs:
            page += ["![Losses](losses.png)", ""]
    said = notes(material, asked, compared)
    page += ["### Notes", "", *(f"- {note}" for note in said), ""] if said else []
    page.append(_sources(compared, backbone).markdown())
    files.append(asked.out / "comparison.md")
    write_text(files[-1], "\n".join(page))
    files.append(asked.out / "comparison.json")
    content = _content(head, material.bank.names, compared, summaries, [*best_peer, *added_loss])
    write_json(files[-1], content)
    return files


def _head(asked: Comparison, material: Material, backbone: Backbone) -> list[str]:
    lines = [
        f"{len(material.table)} images, {len(material.bank.names)} categories, "
        f"{counted(asked.shots, 'shot')} a category, {counted(asked.seeds, 'draw')}",
        f"backbone {backbone.name}, {backbone.preprocessing.size} px; sdmad {__version__}",
    ]
    if asked.quick:
        lines.append(
            "QUICK: one draw, few images, one detector for systems that know one kind of anomaly; "
            "a look at the machinery, no result"
        )
    return lines


def notes(material: Material, asked: Comparison, compared: Sequence[Compared]) -> list[str]:
    """What a reader should know of the data, the draws and the fits, and why a system is left out.

    Args:
        material: the data.
        asked: shots and draws.
        compared: the systems.
    """
    found = dict.fromkeys(material.table.notes)
    for seed in range(asked.seeds):
        support = draw_support(material.table, asked.shots, seed)
        found |= dict.fromkeys(f"draw {seed + 1}: {note}" for note in support.notes)
    for one in compared:
        if one.why_not:
            found[f"{one.system.title}, {one.why_not}: {one.message}"] = None
        for note in dict.fromkeys(note for o in one.outcomes for note in o.notes):
            draws = [str(n) for n, o in enumerate(one.outcomes, 1) if note in o.notes]
            found[f"{one.system.title}, draw {', '.join(draws)}: {note}"] = None
    return list(found)


def _sources(compared: Sequence[Compared], backbone: Backbone) -> Table:
    rows = tuple(
        (
            *(c.system.title, c.system.source, c.system.learns_from),
            *(describe_settings(c.system, backbone), c.system.differs),
        )
        for c in compared
    )
    header = (
        *("System", "Source", "Learns from", "Settings"),
        "What differs from its authors' code",
    )
    return Table("Where the systems come from", header, rows)


def describe_settings(system: System, backbone: Backbone) -> str:
    """Whether the hyper-parameters on a backbone are the published ones, or what differs."""
    used, published = system.settings_on(backbone), system.published
    if used is None:
        return "none"
    if system.own_settings:
        return "this project's own"
    changed = [
        f"{field.name} {getattr(used, field.name):g}"
        for field in fields(used)
        if getattr(used, field.name) != getattr(published, field.name)
    ]
    return f"searched: {', '.join(changed)}" if changed else "as published"


def _content(
    head: list[str],
    categories: Sequence[str],
    compared: Sequence[Compared],
    summaries: dict[str, dict[str, DrawSummary]],
    gaps: Sequence[Gap],
) -> dict[str, object]:
    return {
        "run": head,
        "systems": {
            c.system.name: {
                "title": c.system.title,
                "why_not": c.why_not,
                "metrics": _plain(summaries.get(c.system.name, {})),
                "categories": _plain(c.categories(categories, RESAMPLES)),
                "pixels": [o.pixels for o in c.outcomes],
                "costs": [asdict(o.cost) for o in c.outcomes],
                "losses": [o.converged for o in c.outcomes],
            }
            for c in compared
        },
        "differences": [
            {
                "metric": gap.metric,
                "system": gap.system.system.name,
                "less": gap.less.system.name,
                **asdict(gap.difference),
            }
            for gap in gaps
        ],
        "trivial": {
            name: _plain(summaries[name])
            for name in summaries
            if name not in {c.system.name for c in compared}
        },
    }


def _plain(summaries: dict[str, DrawSummary]) -> dict[str, object]:
    return {metric: asdict(summary) for metric, summary in summaries.items()}
