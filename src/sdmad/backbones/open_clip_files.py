"""Where an open_clip model's configuration, weights and tokenizer are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from sdmad.backbones.files import (
    PICKLES,
    how_to_convert,
    model_type,
    read_json,
    refuse_file,
)
from sdmad.backbones.hub import resolve
from sdmad.backbones.known import Overrides
from sdmad.backbones.open_clip_towers import SUPPORTED
from sdmad.backbones.pretrained import MAX_DEPTH
from sdmad.errors import ModelError, WeightsMissingError
from sdmad.inputs import bounded

HUB = "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
)
CONTEXT_LENGTH = 77  # where a configuration says nothing
PATTERNS = ("*.json", "*.txt", "tokenizer.model", "spiece.model", WEIGHTS[0])
# What a configuration may ask of a tokenizer; trust_remote_code, for one, it may not.
TOKENIZER_SETTINGS = {"clean", "reduction_mask", "strip_sep_token", "language"}
FORMS = (
    "Give open_clip:ARCHITECTURE/TAG (ViT-L-14-quickgelu/openai), open_clip:hf-hub:OWNER/NAME or "
    f"open_clip:FOLDER with {CONFIG} and {WEIGHTS[0]}"
)


@dataclass(frozen=True)
class Source:
    """A model's files.

    Attributes:
        config: ``model_cfg`` as open_clip writes it; nothing in it is fetched any more.
        preprocessing: ``preprocess_cfg`` as open_clip writes it; empty for an architecture.
        find_weights: gives the safetensors file, fetched if need be.
        folder: with the tokenizer's files; None for an architecture.
        origin: where the configuration comes from, for messages.
        tag: open_clip's own entry for the weights; empty where there is none.
        by: what the entry was found by, for messages.
        activation_place: where the activation is to be mended.
    """

    config: dict[str, Any]
    preprocessing: dict[str, Any]
    find_weights: Callable[[], Path]
    folder: Path | None
    origin: str
    tag: dict[str, Any]
    by: str
    activation_place: str


def find_source(name: str) -> Source:
    """Find a model by the name behind ``open_clip:``.

    Raises:
        WeightsMissingError: if the weights are not there and cannot be fetched.
        ModelError: if there is no such architecture, tag or folder, or a file in it is wrong.
    """
    if not name:
        raise ModelError(f"which model of open_clip? {FORMS}.")
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        return _folder(resolve(repository, PATTERNS), repository)
    path = Path(name.removeprefix("local-dir:"))
    try:
        path = path.expanduser()
        found = path.is_dir()
    except (OSError, RuntimeError):  # too long, or the home of an unknown user
        found = False
    if found:
        return _folder(path, "")
    if name.startswith(("local-dir:", "/", ".", "~")):
        raise ModelError(f"no folder {str(path)[:200]!r}. {FORMS}.")
    architecture, _, tag = name.partition("/")
    return _architecture(architecture, tag)


def _folder(folder: Path, repository: str) -> Source:
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{folder} lacks {CONFIG}. {FORMS}.")
    content = read_json(path)
    preprocessing = content.get("preprocess_cfg") or {}
    if not isinstance(preprocessing, dict):
        raise ModelError(f"{path}: preprocess_cfg is no object")
    try:
        stated = Overrides(mean=preprocessing.get("mean"), std=preprocessing.get("std")).given()
    except ModelError as error:
        raise ModelError(f"{path}: preprocess_cfg, {error}") from error
    tag = _entry_of(repository) if repository else {}
    return Source(
        config=_check(content.get("model_cfg"), path, folder),
        preprocessing=stated,
        find_weights=lambda: _weights_in(folder),
        folder=folder,
        origin=CONFIG,
        tag=tag,
        by=f"open_clip's entry for {repository}",
        activation_place=f"{CONFIG}, model_cfg, quick_gelu",
    )


def _weights_in(folder: Path) -> Path:
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise WeightsMissingError(
            f"{folder} has no {WEIGHTS[0]}. {how_to_convert(folder, f'open_clip:{HUB}')}"
        )
    return weights


def _entry_of(repository: str) -> dict[str, Any]:
    """open_clip's own entry for weights that it names by their place on the hub."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    for architecture, tag in list_pretrained():
        entry: dict[str, Any] = get_pretrained_cfg(architecture, tag)
        if entry.get("hf_hub", "").rstrip("/") == repository:
            return entry
    return {}


def _architecture(architecture: str, tag: str) -> Source:
    from open_clip import get_model_config, list_models, list_pretrained_tags_by_model
    from open_clip.pretrained import get_pretrained_cfg

    if architecture not in list_models():
        near = get_close_matches(architecture, list_models(), 3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ModelError(f"open_clip has no architecture {architecture[:200]!r}{hint}. {FORMS}.")
    entry: dict[str, Any] = get_pretrained_cfg(architecture, tag) if tag else {}
    find_weights: Callable[[], Path]
    file = Path(tag)
    if entry:
        find_weights = partial(_fetch, str(entry["hf_hub"]), architecture, tag)
    elif tag.endswith((".safetensors", *PICKLES)) and len(file.name) < 256 and file.is_file():
        if file.suffix != ".safetensors":
            raise refuse_file(file)
        find_weights = partial(Path, file)
    else:
        tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none"
        raise ModelError(
            f"open_clip has no weights {tag[:200]!r} for {architecture}; its tags: {tags}. {FORMS}."
        )
    quick = architecture.removesuffix("-quickgelu") + "-quickgelu"
    return Source(
        config=_check(get_model_config(architecture), Path(architecture), None),
        preprocessing={},
        find_weights=find_weights,
        folder=None,
        origin=f"the architecture {architecture}",
        tag=entry,
        by=f"its tag {tag}",
        activation_place=f"give open_clip:{quick}/{tag} instead" if entry else "the architecture",
    )


def _fetch(place: str, architecture: str, tag: str) -> Path:
    repository, _, file = place.rpartition("/")
    file = file or WEIGHTS[0]
    if not repository or not file.endswith(".safetensors"):
        raise ModelError(
            f"open_clip's weights {tag} for {architecture} are pickled, which is not read as it "
            f"is: sdmad backbone fetch open_clip:{HUB}{repository or 'OWNER/NAME'} converts them."
        )
    path = resolve(repository, [file]) / file
    if not path.is_file():
        raise WeightsMissingError(f"{repository} was fetched without {file}; fetch it again")
    return path


def _check(config: object, path: Path, folder: Path | None) -> dict[str, Any]:
    """Refuse a configuration of another make, and one that would fetch or run things."""
    if not isinstance(config, dict):
        raise ModelError(f"{path} has no model_cfg; it is not open_clip's")
    vision, text = config.get("vision_cfg"), config.get("text_cfg")
    if not isinstance(vision, dict) or not isinstance(text, dict) or "embed_dim" not in config:
        raise ModelError(f"{path}: model_cfg lacks embed_dim, vision_cfg or text_cfg")
    if "multimodal_cfg" in config:
        raise ModelError(f"{path} describes a CoCa; {SUPPORTED}")
    with bounded(f"{path} describes no model of open_clip", ModelError):
        for part in (vision, text):
            layers = part.get("layers", 0)
            if max(layers if isinstance(layers, list) and layers else [layers]) > MAX_DEPTH:
                raise ModelError(f"{path}: more than {MAX_DEPTH} blocks")
            if not isinstance(part.get("act_kwargs") or {}, dict):
                raise TypeError("act_kwargs is no object")
        text["context_length"] = int(text.get("context_length") or CONTEXT_LENGTH)
        refused = sorted(set(text.get("tokenizer_kwargs") or {}) - TOKENIZER_SETTINGS)
    if refused:
        raise ModelError(f"{path}: tokenizer_kwargs may not hold {', '.join(refused)}")
    if ":" in str(vision.get("timm_model_name")):
        raise ModelError(f"{path}: timm_model_name must be one of timm's own, none of a hub")
    vision["timm_model_pretrained"] = text["hf_model_pretrained"] = False
    if text.get("hf_model_name"):
        text["hf_model_name"] = str(_bert_folder(str(text["hf_model_name"]), folder))
    return config


def _bert_folder(name: str, folder: Path | None) -> Path:
    """Where the text tower's config.json is: beside the weights, a folder, or the hub."""
    beside = folder is not None and (folder / "config.json").is_file()
    if beside and folder is not None and model_type(folder) == "bert":
        place = folder
    else:
        place = resolve(name, ["config.json"])
    content = read_json(place / "config.json")
    if content.get("model_type") != "bert":
        raise ModelError(f"the text tower {name} is a {content.get('model_type')}; {SUPPORTED}")
    layers = content.get("num_hidden_layers", 12)
    if not isinstance(layers, int) or layers > MAX_DEPTH:
        raise ModelError(f"{place / 'config.json'}: num_hidden_layers is {layers!r}")
    return place
