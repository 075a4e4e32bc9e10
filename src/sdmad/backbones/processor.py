"""A checkpoint's image processor files."""

from __future__ import annotations

import json
from pathlib import Path

from sdmad.backbones.weights import DAMAGED
from sdmad.data.preprocessing import Preprocessing
from sdmad.errors import ModelError

# OpenAI's values, used when a checkpoint has no preprocessor_config.json.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def read_preprocessing(folder: Path, image_size: int) -> Preprocessing:
    """Mean and deviation from the checkpoint's processor files; OpenAI's where there is none.

    ``transformers`` 5 writes them into ``processor_config.json``, earlier ones into
    ``preprocessor_config.json``; the former goes first, as there.

    Raises:
        ModelError: if a file is not valid JSON or its values are not three usable numbers.
    """
    for name, part in (
        ("processor_config.json", "image_processor"),
        ("preprocessor_config.json", ""),
    ):
        path = folder / name
        if not path.exists():
            continue
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if part and part not in values:
                continue
            values = values[part] if part else values
            r, g, b = (float(v) for v in values.get("image_mean", CLIP_MEAN))
            sr, sg, sb = (float(v) for v in values.get("image_std", CLIP_STD))
            return Preprocessing(size=image_size, mean=(r, g, b), std=(sr, sg, sb))
        except DAMAGED as error:
            raise ModelError(f"{path}: not a usable image processor ({error})") from error
    return Preprocessing(size=image_size, mean=CLIP_MEAN, std=CLIP_STD)
