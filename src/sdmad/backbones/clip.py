"""CLIP in the ``transformers`` format, from a folder, the local cache or the hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from sdmad.backbones.base import Backbone, Tower
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import ModelError

# OpenAI's values, used when a checkpoint has no preprocessor_config.json.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPImageTower(Tower):
    """Vision transformer of a :class:`transformers.CLIPModel`; any input size."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.vision = model.vision_model
        self.projection = model.visual_projection
        self.depth = len(self.vision.encoder.layers)
        self.width = model.config.vision_config.hidden_size

    def embed(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Patch tokens with position embeddings, resized bicubically to the input's size."""
        hidden = self.vision.embeddings(inputs, interpolate_pos_encoding=True)
        return self.vision.pre_layrnorm(hidden), None

    def block(self, index: int, hidden: Tensor, state: None) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(n, T, W)``."""
        output: Tensor = self.vision.encoder.layers[index - 1](hidden, state)
        return output

    def pool(self, hidden: Tensor, state: None) -> Tensor:  # noqa: ARG002
        """Class token, final norm, projection, unit length: ``(n, D)``."""
        return normalize(self.projection(self.vision.post_layernorm(hidden[:, 0])), dim=-1)


@dataclass(frozen=True)
class TextState:
    """Causal mask ``(1, 1, T, T)`` and the place of each end-of-text token ``(S,)``."""

    mask: Tensor
    end: Tensor

    def __getitem__(self, rows: slice) -> TextState:
        """The state of some of the sentences."""
        return TextState(self.mask, self.end[rows])


class CLIPTextTower(Tower):
    """Causal text transformer of a :class:`transformers.CLIPModel`."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.transformer = model.text_model
        self.projection = model.text_projection
        self.depth = len(self.transformer.encoder.layers)
        self.width = model.config.text_config.hidden_size
        self.end_token = model.config.text_config.eos_token_id

    def embed(self, inputs: Tensor) -> tuple[Tensor, TextState]:
        """Token and position embeddings; the mask is causal, as CLIP was trained."""
        hidden = self.transformer.embeddings(input_ids=inputs)
        length = inputs.shape[1]
        mask = torch.full((length, length), -torch.inf, device=inputs.device).triu(1)
        # OpenAI's configurations say 2 while their vocabulary ends in the end-of-text token.
        ends = inputs if self.end_token == 2 else (inputs == self.end_token).int()  # noqa: PLR2004
        return hidden, TextState(mask[None, None], ends.argmax(dim=1))

    def block(self, index: int, hidden: Tensor, state: TextState) -> Tensor:
        """Run block ``index``, counted from 1, on tokens ``(S, T, W)``."""
        output: Tensor = self.transformer.encoder.layers[index - 1](hidden, state.mask)
        return output

    def pool(self, hidden: Tensor, state: TextState) -> Tensor:
        """Final norm and projection of the end-of-text token, unit length: ``(S, D)``."""
        rows = torch.arange(len(hidden), device=hidden.device)
        last = self.transformer.final_layer_norm(hidden[rows, state.end])
        return normalize(self.projection(last), dim=-1)


class CLIPBackbone(Backbone):
    """A ``transformers`` CLIP checkpoint behind the common interface."""

    def __init__(
        self,
        name: str,
        model: CLIPModel,
        tokenizer: CLIPTokenizer,
        preprocessing: Preprocessing,
        weights_hash: str,
    ) -> None:
        self.name = name
        model.eval().requires_grad_(False)
        self.image = CLIPImageTower(model)
        self.text = CLIPTextTower(model)
        self.preprocessing = preprocessing
        self.dimension = model.config.projection_dim
        self.context_length = model.config.text_config.max_position_embeddings
        self.weights_hash = weights_hash
        self._tokenizer = tokenizer

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Token ids ``(S, T)``; what lies behind the end-of-text token changes nothing."""
        encoded = self._tokenizer(
            list(sentences),
            padding="longest",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        ids: Tensor = encoded["input_ids"]
        return ids

    def token_counts(self, sentences: Sequence[str]) -> list[int]:
        """Tokens of each sentence before any cut, start and end included."""
        return [len(self._tokenizer(sentence)["input_ids"]) for sentence in sentences]


def hash_weights(model: torch.nn.Module) -> str:
    """SHA-256 over a model's tensors, by name, shape, type and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_preprocessing(folder: Path, image_size: int) -> Preprocessing:
    """Mean and deviation from ``preprocessor_config.json``; OpenAI's where there is none.

    Raises:
        ModelError: if the file is not valid JSON or its values are not three numbers.
    """
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return Preprocessing(size=image_size, mean=CLIP_MEAN, std=CLIP_STD)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        r, g, b = (float(v) for v in values.get("image_mean", CLIP_MEAN))
        sr, sg, sb = (float(v) for v in values.get("image_std", CLIP_STD))
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a usable preprocessor configuration ({error})") from error
    return Preprocessing(size=image_size, mean=(r, g, b), std=(sr, sg, sb))


def _resolve(name: str) -> Path:
    """The local folder of a checkpoint: given, or fetched from the hub into its cache."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"no folder {folder}. Give the name of a packaged backbone (nano), a folder with "
            "config.json, model.safetensors and the tokenizer files, or a hub name such as "
            "openai/clip-vit-large-patch14."
        )
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, allow_patterns=["*.json", "*.txt", "model*.safetensors"])
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub did not answer"
        raise ModelError(
            f"{name}: not in the cache {constants.HF_HUB_CACHE}, and {offline} "
            f"({type(error).__name__}). Download it where there is a network, or give the folder "
            "it was saved in."
        ) from error


def load_clip(name: str, image_size: int | None = None) -> CLIPBackbone:
    """Load a ``transformers`` CLIP checkpoint, in float32, on the CPU.

    Args:
        name: a local folder or a hub name.
        image_size: side of the input in pixels; the checkpoint's own when not given. The paper
            runs ViT-L/14, trained at 224, at 240.

    Raises:
        ModelError: if files are missing or unreadable, are pickled, or do not fit together.
    """
    folder = _resolve(name)
    missing = [f for f in ("config.json",) if not (folder / f).is_file()]
    if not any(folder.glob("model*.safetensors")):
        missing.append("model.safetensors")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        missing.append("tokenizer.json (or vocab.json and merges.txt)")
    if missing:
        raise ModelError(
            f"{name}: {folder} lacks {', '.join(missing)}. Pickled weights (.bin, .pt) are never "
            "read; convert them with CLIPModel.save_pretrained."
        )
    model, tokenizer = _read_checkpoint(name, folder)
    size = image_size or model.config.vision_config.image_size
    if size < model.config.vision_config.patch_size:
        raise ModelError(f"{name}: {size} px is less than one patch")
    return CLIPBackbone(
        name, model, tokenizer, read_preprocessing(folder, size), hash_weights(model)
    )


def _read_checkpoint(name: str, folder: Path) -> tuple[CLIPModel, CLIPTokenizer]:
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, report = CLIPModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    # Readers of damaged checkpoints raise many types; each becomes one readable error.
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ModelError(f"{name}: {folder} does not hold a readable CLIP ({error})") from error
    finally:
        transformers_logging.set_verbosity(level)
    lost = sorted(report["missing_keys"]) + [str(k) for k in report.get("mismatched_keys", [])]
    if lost:
        raise ModelError(
            f"{name}: the weights do not fit the configuration, {len(lost)} tensors are missing "
            f"or of another shape, first {lost[0]}"
        )
    if len(tokenizer) > model.config.text_config.vocab_size:
        raise ModelError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the text tower only "
            f"{model.config.text_config.vocab_size}; they do not belong together"
        )
    return model, tokenizer
