"""ViT-L/14 at 240 px with random weights: does it train and predict here, how long, how large?

Run ``make vit-large``. Needs about 6 GB of memory.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.backbones import NANO_FOLDER
from sdmad.phantoms.cases import draw_cases, load_modality
from sdmad.signs import SignBank


def write_random_checkpoint(folder: Path) -> None:
    """A ViT-L/14 with random weights in the hub's layout, with the nano's tokenizer."""
    tokenizer = CLIPTokenizer.from_pretrained(NANO_FOLDER, local_files_only=True)
    text = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "projection_dim": 768, "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "projection_dim": 768, "image_size": 224, "patch_size": 14,
    }  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=768)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Fit one epoch on one shot a category of OCT phantoms and score eight images."""
    bank = SignBank.load("oct")
    cases = list(draw_cases(load_modality("oct"), 40, 0))
    chosen = [next(i for i, c in enumerate(cases) if name in c.categories) for name in bank.names]
    chosen.append(next(i for i, c in enumerate(cases) if not c.categories))
    labels = np.array([[float(n in cases[i].categories) for n in bank.names] for i in chosen])
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        backbone = load_backbone(folder, 240)
    detector = SDMAD(bank, backbone, SDMADConfig.paper(epochs=1))
    start = time.monotonic()
    detector.fit([cases[i].image for i in chosen], labels)
    fitted = time.monotonic()
    scores = detector.decision_function([c.image for c in cases[:8]])
    done = time.monotonic()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"adapters in blocks {sorted(map(int, detector.image_adapters))} of 24")
    print(f"fit, {len(chosen)} images, 1 epoch: {fitted - start:.1f} s")
    print(
        f"score: {(done - fitted) / 8:.2f} s an image, scores finite: {np.isfinite(scores).all()}"
    )
    print(f"peak memory: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
