"""``sdmad signs``: write, show, check, stress and compare sign banks."""

from __future__ import annotations

import typer

from sdmad.cli import signs_check, signs_diff, signs_generate, signs_stress
from sdmad.cli.common import Bank, put, show
from sdmad.cli.hints import Command

app = typer.Typer(no_args_is_help=True, help="Write, show, check, stress and compare sign banks.")
app.command("generate", cls=Command)(signs_generate.command)
app.command("check", cls=Command)(signs_check.command)
app.command("stress", cls=Command)(signs_stress.command)
app.command("diff", cls=Command)(signs_diff.command)


@app.command("show", cls=Command)
def show_bank(bank: Bank) -> None:
    """Print a bank as a table: each sentence and where it comes from.

    Example: `sdmad signs show brain`
    """
    from sdmad.signs import SignBank
    from sdmad.table import Table

    content = SignBank.load(bank)
    owners = ["normal"] * len(content.normal) + [content.names[i] for i in content.category_index]
    origins = [content.normal_provenance(i) for i in range(len(content.normal))]
    origins += [content.provenance(i) for i in range(len(content.sentences))]
    pages = list(dict.fromkeys(o.source for o in origins if o.is_page))
    numbers = {page: f"[{number}]" for number, page in enumerate(pages, start=1)}
    shown = [o.short().replace(o.source, numbers.get(o.source, o.source)) for o in origins]
    rows = tuple(zip(owners, (*content.normal, *content.sentences), shown, strict=True))
    title = f"{content.name}: {content.modality}, {len(content.categories)} categories"
    show([Table(title, ("Category", "Sign", "From"), rows)])
    for page, number in numbers.items():
        put(f"{number} {page}")
