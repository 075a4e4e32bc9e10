"""Models to and from the hub: the flat directory of :mod:`sdmad.detector.checkpoint`, as it is."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download

from sdmad.backbones import PACKAGED
from sdmad.backbones.fetching.remote import look_up
from sdmad.backbones.hub import NOT_FETCHED, is_hub_name, why_not
from sdmad.detector.card import model_card
from sdmad.detector.checkpoint import FILES, MANIFEST, TENSORS, write_state
from sdmad.detector.manifest import MAX_JSON
from sdmad.detector.state import FittedState
from sdmad.detector.stored import MAX_TENSORS
from sdmad.errors import InputError, ModelError, WeightsMissingError
from sdmad.output import write_text

CARD = "README.md"


def push(state: FittedState, name: str, private: bool, backbone: str | None) -> str:
    """Upload a model; see :meth:`sdmad.SDMAD.push_to_hub`."""
    _check_name(name)
    shown = copy.copy(state.backbone)
    shown.name = backbone if backbone is not None else state.backbone.name
    if not _is_public(shown.name):
        raise InputError(
            f"the model was fitted on {shown.name}, which nobody else has under this name: say "
            'where others find the same weights, push_to_hub(..., backbone="OWNER/NAME")'
        )
    told = tuple(note.replace(state.backbone.name, shown.name) for note in state.notes)
    state = replace(state, backbone=shown, notes=told)
    api = HfApi(endpoint=constants.ENDPOINT)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        write_state(state, folder)
        write_text(folder / CARD, model_card(state, name))
        try:
            api.create_repo(name, private=private, exist_ok=True)
            if private and not api.model_info(name).private:
                raise InputError(
                    f"{name} is there and public; push_to_hub(..., private=False) says that this "
                    "is wanted, or give another name"
                )
            done = api.upload_folder(
                repo_id=name, folder_path=folder, commit_message="A model of sdmad"
            )
        except InputError:
            raise
        except NOT_FETCHED as error:
            raise ModelError(f"{name}: not uploaded: {why_not(name, error)}") from error
    return str(done.commit_url)


def find_model(name: str | Path, revision: str | None) -> Path:
    """A model's directory: a folder, or downloaded into the hub's cache.

    Raises:
        WeightsMissingError: if the hub does not give it.
        ModelError: if the repository is no model's, or a file larger than a model's can be.
    """
    folder = Path(name)
    if isinstance(name, Path) or folder.exists() or not is_hub_name(name):
        return folder
    wanted = (*FILES, MANIFEST)
    if not constants.HF_HUB_OFFLINE:
        repository = look_up(name, revision)
        if lost := [file for file in wanted if file not in repository.files]:
            raise ModelError(f"{name} is no model of sdmad: it has no {lost[0]}")
        for file in wanted:
            repository.check_size(file, MAX_TENSORS if file == TENSORS else MAX_JSON)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(wanted)))
    except NOT_FETCHED as error:
        raise WeightsMissingError(
            f"{name}: no such folder, not in the cache, and {why_not(name, error)}"
        ) from error


def _check_name(name: str) -> None:
    if not is_hub_name(name):
        raise InputError(f"{name[:200]!r} is no name of a repository: give OWNER/NAME")


def _is_public(name: str) -> bool:
    """Whether a backbone's name means the same to others: no folder or file of this machine."""
    rest = name.removeprefix("open_clip:")
    if name in PACKAGED or rest.startswith("hf-hub:"):
        return True
    if rest.startswith("medclip") or rest.endswith(".safetensors") or Path(rest).exists():
        return False
    return is_hub_name(rest)
