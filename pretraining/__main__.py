"""Make the nano backbone: ``python -m pretraining --out FOLDER`` (about 40 minutes, 2 cores)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch

from pretraining.card import write_card
from pretraining.corpus import NORMAL, ONE_SIGN, TWO_SIGNS, training_captions
from pretraining.measure import report
from pretraining.model import CONTEXT, MEAN, STD, build_model, set_positions, whiten_patches
from pretraining.pictures import SIZE, draw_pictures
from pretraining.tokens import DroppingEncoder, learn_tokenizer
from pretraining.train import Recipe, Trainer
from sdmad.backbones import load_backbone

PICTURES = {"brain": 16_000, "chest": 18_000, "oct": 12_000}
MERGES = 3000


def arguments() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--share", type=float, default=1.0, help="share of the pictures to draw")
    return parser.parse_args()


def main() -> None:
    """Draw, train, save and measure."""
    options, start = arguments(), time.monotonic()
    recipe = Recipe(steps=options.steps)
    torch.manual_seed(recipe.seed)
    captions = training_captions()
    pictures = {
        name: draw_pictures(name, int(count * options.share), seed=index)
        for index, (name, count) in enumerate(PICTURES.items())
    }
    print(f"drew {sum(len(p.images) for p in pictures.values())} pictures "
          f"in {time.monotonic() - start:.0f} s")  # fmt: skip
    texts = [text for c in captions.values() for text in c.all_texts()]
    templates = [t.format(m="", s="", t="") for t in (*NORMAL, *ONE_SIGN, *TWO_SIGNS)]
    tokenizer = learn_tokenizer(texts + templates, MERGES, CONTEXT)
    model = build_model(tokenizer)
    whiten_patches(model, np.concatenate([p.images[:300] for p in pictures.values()]))
    set_positions(model)
    encoder = DroppingEncoder(tokenizer, texts + templates, np.random.default_rng(recipe.seed))
    trained = Trainer(model, pictures, captions, encoder, recipe).run()
    options.out.mkdir(parents=True, exist_ok=True)
    trained.half().save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    processor = {"image_mean": [MEAN] * 3, "image_std": [STD] * 3, "size": {"shortest_edge": SIZE}}
    (options.out / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
    (options.out / "wordings.txt").write_text("\n".join(sorted(set(texts))) + "\n")
    figures = {
        "recipe": dataclasses.asdict(recipe),
        "pictures": {name: len(p.images) for name, p in pictures.items()},
        "parameters": sum(p.numel() for p in trained.parameters()),
        "minutes": round((time.monotonic() - start) / 60, 1),
    }
    backbone = load_backbone(options.out)
    for style in ("validation", "test"):
        figures[style] = report(backbone, style)
    (options.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    write_card(options.out)


if __name__ == "__main__":
    main()
