"""open_clip's bare ViT-L/14, random weights; run by ``others`` in the extras' environment."""

from __future__ import annotations

import json
import statistics
import sys
import time

import open_clip
import torch


def main() -> None:
    """Print the times of some images in both precisions as JSON."""
    size, images, runs, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    model = open_clip.create_model("ViT-L-14-quickgelu", pretrained=None, force_image_size=size)
    pixels, found = torch.randn(images, 3, size, size), {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        tower, values = model.visual.to(dtype).eval(), pixels.to(dtype)
        times = []
        with torch.no_grad():
            tower(values)
            for _ in range(runs):
                start = time.perf_counter()
                tower(values)
                times.append(time.perf_counter() - start)
        found[f"open_clip, {name}"] = {
            "median": statistics.median(times), "low": min(times), "high": max(times), "runs": runs,
        }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
