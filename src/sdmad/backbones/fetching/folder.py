"""A backbone's folder: from a repository on the hub, or from files that are here.

Its weights are safetensors. ``manifest.json`` tells where everything comes from:

| key | is |
| --- | --- |
| ``source``, ``revision``, ``licence`` | the repository, its commit, the licence that it tells |
| ``files`` | SHA-256 of each file |
| ``converted`` | of each file that was a pickle: name, SHA-256, what was taken off and left out |
| ``text_tower`` | repository, commit and licence of what a text tower needed besides |
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from sdmad._version import __version__
from sdmad.backbones.fetching import layouts
from sdmad.backbones.fetching.layouts import Layout
from sdmad.backbones.fetching.missing import lacking, network_in
from sdmad.backbones.fetching.pickles import convert_weights
from sdmad.backbones.fetching.remote import Repository, look_up
from sdmad.backbones.files import INDEX, MAX_JSON, PICKLES, model_type, read_json
from sdmad.backbones.hub import fetched_folder, is_hub_name
from sdmad.choices import EMBEDDED
from sdmad.errors import InputError, ModelError, WeightsMissingError
from sdmad.inputs import bounded, file_hash
from sdmad.output import check_output, output_directory, write_json

MANIFEST = "manifest.json"
OPEN_CLIP = "open_clip:hf-hub:"
BERTS_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

_SPELT = re.compile(r"(?!.*(--|\.\.))[\w.-]+/[\w.-]+", re.ASCII)
"""How the hub lets repositories be called."""
_SAFE_ALREADY = "holds safetensors, which need no conversion: give their folder as the backbone"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """A backbone's folder.

    Attributes:
        folder: where it is.
        backbone: what to give as the backbone's name; "" where it is none.
        lacks: what is still missing, one sentence each.
        network: what it is, where it is no backbone but a network that compared systems take.
    """

    folder: Path
    backbone: str
    lacks: tuple[str, ...]
    network: str = ""


@dataclass
class _Origin:
    """Where files come from, and what is noted of it."""

    get: Callable[[str], Path]
    noted: dict[str, Any]
    converted: dict[str, Any] = field(default_factory=dict)


def fetch_backbone(
    name: str,
    out: Path | None = None,
    revision: str | None = None,
    force: bool = False,
    tell: Tell = print,
) -> Made:
    """Download what a backbone needs of a repository, and convert its weights if need be.

    Args:
        name: ``OWNER/NAME``, or ``open_clip:hf-hub:OWNER/NAME`` for open_clip's files of it.
        out: the folder to write; where None, one in the user's cache, in which
            :func:`~sdmad.backbones.load_backbone` finds it by its name.
        revision: a branch, a tag or a commit; the main branch when None. The folder holds one
            commit, and its manifest says which.
        force: replace what is there.
        tell: takes a line on what is done.

    Raises:
        WeightsMissingError: if the hub does not give something; says what to do.
        ModelError: if what it gives is no backbone, or holds anything but plain tensors.
        InputError: if the folder cannot be written.
    """
    repository_name = name.removeprefix(OPEN_CLIP)
    _check_name(repository_name)
    target = fetched_folder(repository_name) if out is None else out
    if out is None and target.is_dir() and not force:
        raise InputError(f"{name} was fetched already, into {target}; --force fetches it again")
    check_output(target, force)
    repository = look_up(repository_name, revision)
    wanted: layouts.Kind | None = "open_clip" if name.startswith(OPEN_CLIP) else None
    layout = layouts.choose(repository.files, repository_name, wanted)
    tell(f"{repository_name} at {repository.revision[:12]}, licence: {told(repository.licence)}")
    small = {n: repository.file(n, MAX_JSON) for n in (*layout.beside, *_index(layout))}
    _check_kind(layout, small, repository_name)
    _check_space(target, sum(repository.files[n].size for n in layout.weights))
    noted = {"source": repository.name, "revision": repository.revision}

    def get(file: str) -> Path:
        if file not in small:
            tell(f"downloading {file}, {repository.files[file].size / 1e6:,.0f} MB")
        return small.get(file) or repository.file(file)

    origin = _Origin(get, {**noted, "licence": repository.licence})
    made = _make(layout, origin, target, force, tell)
    return made if out is not None else _in_cache(made, repository_name)


def convert_backbone(source: Path, out: Path, force: bool = False, tell: Tell = print) -> Made:
    """Make a backbone's folder of pickled weights that are here, and of the files beside them.

    Args:
        source: a pickle, the index of several, or a folder with them.
        out: the folder to write.
        force: replace what is there.
        tell: takes a line on what is done.

    Raises:
        ModelError: if it holds no weights, or anything but plain tensors.
        InputError: if the folder cannot be written.
    """
    layout = _local_layout(source)
    folder = source if source.is_dir() else source.parent
    check_output(out, force, inputs=[source, folder])
    _check_space(out, sum((folder / name).stat().st_size for name in layout.weights))
    noted = {"source": source.name, "revision": "", "licence": ""}
    return _make(layout, _Origin(lambda name: folder / name, noted), out, force, tell)


def told(licence: str) -> str:
    """A licence for a person."""
    return licence or "the repository tells none"


def _check_name(name: str) -> None:
    if name == EMBEDDED:
        raise InputError(f"{EMBEDDED} is packaged; there is nothing to fetch")
    if not is_hub_name(name) or not _SPELT.fullmatch(name):
        raise InputError(
            f"{name[:200]!r} is no name of the hub: give OWNER/NAME or {OPEN_CLIP}OWNER/NAME "
            "(sdmad backbone list shows known ones); files that are here go to sdmad backbone "
            "convert"
        )


def _local_layout(source: Path) -> Layout:
    """Which files of a folder are meant: all of them, or the one that was named."""
    folder = source if source.is_dir() else source.parent
    try:
        names = {path.name for path in folder.iterdir() if path.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        names = set()
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror})") from error
    beside = tuple(name for name in layouts.BESIDE if name in names)
    if source.is_dir():
        rest = {name for name in names if not name.endswith(".safetensors")}
        if len(rest) < len(names) and not any(name.endswith(PICKLES) for name in rest):
            raise InputError(f"{source} {_SAFE_ALREADY}")
        return layouts.choose(rest - {INDEX}, str(source))
    if source.name not in names:
        raise InputError(f"{source}: no such file or folder")
    if source.name == layouts.PICKLED_INDEX:
        shards = layouts.shards(names, PICKLES[0])
        layouts.check_parts(shards, source.name, str(folder))
        return Layout("transformers", shards, source.name, beside)
    if source.name.endswith(".safetensors"):
        raise InputError(f"{source} {_SAFE_ALREADY}")
    if not source.name.endswith(PICKLES):
        raise InputError(f"{source} is no pickle: {', '.join(PICKLES)} are converted")
    layouts.check_parts([source.name], None, str(folder))
    kinds: dict[str, layouts.Kind] = {
        layouts.PICKLED: "transformers",
        layouts.OPEN_CLIP_PICKLED: "open_clip",
    }
    return Layout(kinds.get(source.name, "bare"), (source.name,), None, beside)


def _index(layout: Layout) -> list[str]:
    return [layout.index] if layout.index else []


def _check_kind(layout: Layout, small: Mapping[str, Path], where: str) -> None:
    """Refuse another model's repository before its weights are downloaded."""
    from sdmad.backbones import MODEL_TYPES

    if layout.kind != "transformers":
        return
    config = read_json(small[layouts.CONFIG])
    kind = config.get("model_type")
    if kind not in MODEL_TYPES and not layouts.network_of(config):
        raise ModelError(
            f"{where}: config.json says model_type {kind!r}, which is no backbone here; "
            f"{', '.join(sorted(MODEL_TYPES))} are; compared systems take timm's networks and "
            f"{', '.join(layouts.NETWORKS)}"
        )


def _check_space(target: Path, size: int) -> None:
    place = target.absolute()
    while not place.is_dir():
        place = place.parent
    free = shutil.disk_usage(place).free
    if size > free:
        raise InputError(f"{target}: {size:,} bytes of weights, and {free:,} are free there")


def _make(layout: Layout, origin: _Origin, target: Path, force: bool, tell: Tell) -> Made:
    with output_directory(target, force) as work:
        for name in layout.beside:
            shutil.copyfile(origin.get(name), work / name)
        if layout.pickled:
            _convert(layout, origin, work, tell)
        else:
            _copy(layout, origin, work)
        kind = layout.kind if layout.kind != "bare" else _recognise(work, origin)
        if kind == "open_clip":
            _add_text_tower(work, origin, tell)
        files = sorted(path.name for path in work.iterdir())
        write_json(
            work / MANIFEST,
            {
                "sdmad": __version__,
                **origin.noted,
                "files": {name: file_hash(work / name, ModelError) for name in files},
                "converted": origin.converted,
            },
        )
    network = network_in(target) if kind == "transformers" else ""
    prefix = "open_clip:" if kind == "open_clip" else ""
    name = "" if kind == "bare" or network else f"{prefix}{target}"
    return Made(target, name, lacking(target, kind), network)


def _in_cache(made: Made, name: str) -> Made:
    """The same, by the name under which it is found there."""
    prefix = OPEN_CLIP if made.backbone.startswith("open_clip:") else ""
    return replace(made, backbone=f"{prefix}{name}" if made.backbone else "")


def _convert(layout: Layout, origin: _Origin, work: Path, tell: Tell) -> None:
    """Convert every pickle."""
    held: dict[str, str] = {}
    for name in layout.weights:
        source = origin.get(name)
        target = work / layouts.converted_name(name, layout.kind)
        tell(f"converting {name} in a process of its own")
        done = convert_weights(source, target)
        tell(f"{len(done.names)} tensors; the process that read them {done.network}")
        if twice := sorted(held.keys() & set(done.names)):
            raise ModelError(f"{twice[0]} stands in two of the files, {name} is one of them")
        held |= dict.fromkeys(done.names, target.name)
        origin.converted[target.name] = {
            "from": name,
            "sha256": file_hash(source, ModelError),
            "taken_off": list(done.nested),
            "left_out": list(done.left),
            "its_process": done.network,
        }
    if layout.index:
        index = origin.get(layout.index)
        told = layouts.check_shards(read_json(index), layout.weights, index.name)
        if lost := sorted(told.keys() - held.keys()):
            raise ModelError(f"{index.name} tells of {lost[0][:200]}, which is in no shard")
        write_json(work / INDEX, {"metadata": {}, "weight_map": held})


def _copy(layout: Layout, origin: _Origin, work: Path) -> None:
    """Safetensors as they are."""
    for name in layout.weights:
        source = origin.get(name)
        target = work / (layouts.SAFETENSORS if layout.kind == "bare" else name)
        _link(source, target)
        with (
            bounded(f"{source} is no readable safetensors file", ModelError),
            safe_open(target, "pt"),
        ):
            pass
    if layout.index:
        shutil.copyfile(origin.get(layout.index), work / layout.index)
        layouts.check_shards(read_json(work / layout.index), layout.weights, layout.index)


def _recognise(work: Path, origin: _Origin) -> layouts.Kind:
    """Whose format a file of weights is in; it is called as there."""
    path = work / layouts.SAFETENSORS
    with safe_open(path, "pt") as file:
        kind = layouts.kind_of_tensors(file.keys())
    name = layouts.converted_name("", kind)
    path.rename(work / name)
    if path.name in origin.converted:
        origin.converted[name] = origin.converted.pop(path.name)
    return kind


def _link(source: Path, target: Path) -> None:
    """The same file under another name where the disk is the same, else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _add_text_tower(work: Path, origin: _Origin, tell: Tell) -> None:
    """What a BERT under open_clip needs besides: its configuration and its vocabulary."""
    path = work / layouts.OPEN_CLIP_CONFIG
    if not path.is_file() or not origin.noted["revision"]:
        return  # bare weights, or files that are here: no network is asked
    content = read_json(path).get("model_cfg")
    text = content.get("text_cfg") if isinstance(content, dict) else None
    name = text.get("hf_model_name") if isinstance(text, dict) else None
    if not isinstance(name, str) or not is_hub_name(name) or model_type(work) is not None:
        return
    tell(f"its text tower is {name}")
    repository = look_up(name)
    wanted = [layouts.CONFIG]
    if not any((work / file).is_file() for file in BERTS_FILES[:2]):
        wanted += BERTS_FILES
    if layouts.CONFIG not in repository.files:
        raise WeightsMissingError(f"{name}, its text tower, has no {layouts.CONFIG}")
    for file in wanted:
        if file in repository.files and not (work / file).exists():
            shutil.copyfile(repository.file(file, MAX_JSON), work / file)
    origin.noted["text_tower"] = _noted(repository)


def _noted(repository: Repository) -> dict[str, str]:
    return {
        "source": repository.name,
        "revision": repository.revision,
        "licence": repository.licence,
    }
