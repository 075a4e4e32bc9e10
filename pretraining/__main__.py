"""Make the embedded backbone: ``python -m pretraining --out FOLDER`` (two hours, 2 cores).

The folder holds the trunk's weights already (``python -m pretraining.trunk``). Pictures and
checkpoints lie in ``--work``; run the same command again to go on where it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from pretraining.card import write_card
from pretraining.corpus import NORMAL, ONE_SIGN, TWO_SIGNS, training_captions
from pretraining.measure import report
from pretraining.model import CONTEXT, build_towers, whiten_tokens
from pretraining.pictures import MEAN, SIZE, STD, Pictures, draw_pictures, load_pictures
from pretraining.tokens import DroppingEncoder, learn_tokenizer
from pretraining.train import Recipe, Trainer
from sdmad.backbones import load_backbone
from sdmad.backbones.lite import POOLED, REMEMBERED, STRIDE, TOWERS, TRUNK, TrunkTransformer
from sdmad.backbones.transformer import TextTransformer

PICTURES = {
    "brain": 16_000,
    "chest": 24_000,
    "oct": 12_000,
    "breast": 7_000,
    "thyroid": 5_000,
    "skin": 6_000,
    "fundus": 6_000,
}
MERGES = 3000
SAMPLE = 300  # pictures of each modality behind the whitening and the evidence's centre


def arguments() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--work", type=Path, default=Path("out/pretraining"), help="for resuming")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--share", type=float, default=1.0, help="share of the pictures to draw")
    return parser.parse_args()


def sample(pictures: dict[str, Pictures]) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps and pooled features of some pictures of every modality."""
    rows = np.arange(SAMPLE)
    maps = torch.cat([one.maps_of(rows) for one in pictures.values()])
    pooled = np.concatenate([one.pooled[:SAMPLE] for one in pictures.values()])
    return maps, torch.from_numpy(pooled).float()


@torch.no_grad()
def centre_evidence(image: TrunkTransformer, maps: torch.Tensor, pooled: torch.Tensor) -> None:
    """Set the centre of the evidence to its mean over some pictures.

    Args:
        image: the trained tower.
        maps: the trunk's at stride 8, ``(n, 152, 30, 30)``.
        pooled: the trunk's pooled features, ``(n, 320)``.
    """
    image.centre.zero_()
    hidden = image.arrange(image.patch(maps))
    for index in range(1, image.depth + 1):
        hidden = image.block(index, hidden, pooled)
    image.centre.copy_(torch.cat(image.known(hidden, pooled), dim=1).mean(dim=0))


@torch.no_grad()
def remember(image: TrunkTransformer, pictures: dict[str, Pictures]) -> None:
    """Set what tells a familiar image: some pictures of every modality, and how near others lie.

    Args:
        image: the tower, whose evidence is centred.
        pictures: twice as many as are remembered, at least.
    """
    each = REMEMBERED // len(pictures)

    def pooled(rows: slice) -> torch.Tensor:
        values = np.concatenate([one.pooled[rows] for one in pictures.values()])
        return normalize(torch.from_numpy(values).float() - image.centre[-POOLED:], dim=-1)

    image.seen[: each * len(pictures)] = pooled(slice(each))
    nearest = (pooled(slice(each, 2 * each)) @ image.seen.T).amax(dim=1)
    image.least.copy_(nearest.quantile(0.01))


def save_towers(folder: Path, image: TrunkTransformer, text: TextTransformer) -> None:
    """Write both towers without the trunk, in half precision, and how to read them."""
    tensors = {
        f"{kind}.{name}": value.half().contiguous()
        for kind, tower in (("image", image), ("text", text))
        for name, value in tower.state_dict().items()
        if not name.startswith("trunk.")
    }
    save_file(tensors, folder / TOWERS, metadata={"format": "pt"})
    shared = {"hidden_act": "gelu", "layer_norm_eps": 1e-5}

    def sizes(tower: TrunkTransformer | TextTransformer) -> dict[str, object]:
        block = tower.blocks[0]
        return {
            "hidden_size": tower.widths[0],
            "intermediate_size": block.fc1.out_features,
            "num_attention_heads": block.heads,
            "num_hidden_layers": tower.depth,
            **shared,
        }

    config = {
        "model_type": "sdmad_lite",
        "projection_dim": image.projection.out_features,
        "text_config": {
            **sizes(text),
            "vocab_size": len(text.token),
            "max_position_embeddings": len(text.position),
            "eos_token_id": text.end_token,
        },
        "vision_config": {**sizes(image), "image_size": SIZE, "patch_size": STRIDE},
    }
    processor = {"image_mean": [MEAN] * 3, "image_std": [STD] * 3, "size": {"shortest_edge": SIZE}}
    for name, content in (("config.json", config), ("preprocessor_config.json", processor)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Draw, train, save and measure."""
    options, start = arguments(), time.monotonic()
    recipe = Recipe(steps=options.steps)
    torch.manual_seed(recipe.seed)
    captions = training_captions()
    counts = {name: int(count * options.share) for name, count in PICTURES.items()}
    draw_pictures(counts, options.out, options.work)
    print(f"drawn after {time.monotonic() - start:.0f} s", flush=True)
    pictures = {name: load_pictures(name, count, options.work) for name, count in counts.items()}
    texts = [text for c in captions.values() for text in c.all_texts()]
    templates = [t.format(m="", s="", t="") for t in (*NORMAL, *ONE_SIGN, *TWO_SIGNS)]
    tokenizer = learn_tokenizer(texts + templates, MERGES, CONTEXT)
    image, text = build_towers(tokenizer)
    weights = load_file(options.out / TRUNK)
    image.trunk.load_state_dict({name: value.float() for name, value in weights.items()})
    some = sample(pictures)
    whiten_tokens(image, some[0])
    encoder = DroppingEncoder(tokenizer, texts + templates, np.random.default_rng(recipe.seed))
    trainer = Trainer(image, text, pictures, captions, encoder, recipe)
    image, text = trainer.run(options.work / "checkpoint.pt")
    centre_evidence(image, *some)
    remember(image, pictures)
    save_towers(options.out, image, text)
    tokenizer.save_pretrained(options.out)
    (options.out / "wordings.txt").write_text("\n".join(sorted(set(texts))) + "\n")
    figures = {
        "recipe": dataclasses.asdict(recipe),
        "pictures": counts,
        "parameters": sum(p.numel() for tower in (image, text) for p in tower.parameters()),
        "training_minutes": round(trainer.seconds / 60, 1),
    }
    backbone = load_backbone(options.out)
    for style in ("validation", "test"):
        figures[style] = report(backbone, style)
    (options.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    write_card(options.out)


if __name__ == "__main__":
    main()
