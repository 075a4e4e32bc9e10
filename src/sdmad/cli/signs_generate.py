"""``sdmad signs generate``: let a language model write a sign bank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdmad.choices import EMBEDDED
from sdmad.cli.common import BackboneName, Force, ModelName, notes, put, readable_warnings, say

KEY_VARIABLE = "OPENAI_API_KEY"


def command(
    modality: Annotated[str, typer.Argument(help='The kind of image, such as "brain MRI".')],
    categories: Annotated[
        list[str],
        typer.Argument(metavar="CATEGORY", help="Names, or a text file with one name a line."),
    ],
    model: ModelName,
    base_url: Annotated[
        str,
        typer.Option("--base-url", help="The server, such as http://localhost:11434/v1 (Ollama)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bank to write, BANK.yaml.")],
    signs_per_category: Annotated[
        int, typer.Option("--signs-per-category", min=1, max=50, help="Signs of each category.")
    ] = 8,
    backbone: BackboneName = EMBEDDED,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Folder of prompts in place of the packaged.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of answers; the user's cache if not set.")
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Above 0 answers vary and are not cached.")
    ] = 0.0,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", help=f"Variable with the API key, if not {KEY_VARIABLE}."),
    ] = None,
    force: Force = False,
) -> None:
    """Let a language model write signs; no image and no patient's data is sent.

    Example: `sdmad signs generate "brain MRI" Craniotomy "Dural thickening"
    --model qwen3:8b --base-url http://localhost:11434/v1 --out bank.yaml`
    """
    import os

    from sdmad.output import check_output_file, write_text
    from sdmad.signs import generation

    check_output_file(out, force)
    names = generation.read_categories(categories)
    request = generation.GenerationRequest(modality, names, signs_per_category)
    key = generation.api_key_from(
        os.environ, api_key_env or KEY_VARIABLE, required=api_key_env is not None
    )
    chat = generation.ChatClient(model, base_url, key, temperature)
    if chat.exposes_key:
        notes([f"the API key goes to {chat.base_url} unencrypted; use https"])
    templates = generation.PromptTemplates.load(prompts)
    answers = generation.AnswerCache(cache or generation.default_cache())

    from sdmad.backbones import load_backbone

    with readable_warnings():
        tower = load_backbone(backbone)
    interviewer = generation.Interviewer(chat, templates, generation.Style(tower), answers)
    generated = generation.generate_bank(request, interviewer, out.stem, say)
    write_text(out, generated.bank.to_yaml())
    notes(generated.notes)
    put(f"bank: {out}")
    say(f"read it, then look at what the backbone makes of it: sdmad signs check {out}")
