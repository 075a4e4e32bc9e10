"""What the documents print about the command line is so."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from sdmad.cli import main
from sdmad.cli.common import STATUSES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def commands():
    """Each command by its words."""

    def walk(command, words=()):
        if not hasattr(command, "commands"):
            yield " ".join(words), command
            return
        for name, inner in command.commands.items():
            yield from walk(inner, (*words, name))

    return dict(walk(typer.main.get_command(main.app)))


def options():
    """Each option with the commands that have it, and their parameters."""
    found = {}
    for name, command in commands().items():
        for parameter in command.params:
            for long in parameter.opts:
                if long.startswith("--") and long != "--help":
                    found.setdefault(long, {})[name] = parameter
    return found


def printed(text):
    """The sdmad commands in a document's blocks, whole, without comments."""
    blocks = "\n".join(re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.S | re.M))
    lines = blocks.replace("\\\n", " ").splitlines()
    commands = [re.sub(r"\s+#.*", "", line).removeprefix("$ ") for line in lines]
    return [line for line in commands if line.startswith("sdmad ")]


def inline(text):
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    spans = [" ".join(span.split()) for span in re.findall(r"`(sdmad [^`]+)`", prose)]
    return [span for span in spans if re.match(r"sdmad [a-z].* --(?!.*\.\.\.)", span)]


def of_documents():
    found = [*printed(README), *re.findall(r"^\| `(sdmad [^`]+)`", README, re.M)]
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]):
        text = path.read_text(encoding="utf-8")
        found += [*printed(text), *inline(text)]
    return sorted(set(found))


def parse(words):
    """Parse a command as the shell would give it, without running it."""
    command, name = typer.main.get_command(main.app), "sdmad"
    while hasattr(command, "commands") and not words[0].startswith("-"):
        name, words = words[0], words[1:]
        command = command.commands[name]
    with command.make_context(name, list(words)) as context:
        return context.params


def split(line):
    return shlex.split(line)[1:]


def test_the_documents_print_commands():
    assert len(of_documents()) > 25
    assert "sdmad signs stress brain" in of_documents()


@pytest.mark.parametrize("line", of_documents())
def test_a_printed_command_can_be_parsed(line):
    parse(split(line))


def test_a_printed_command_with_an_option_that_is_none_would_be_seen():
    with pytest.raises(Exception, match="--style"):
        parse(["demo", "brain", "--style", "test"])
    with pytest.raises(Exception, match="kind"):
        parse(["demo", "kind"])


def test_an_option_means_the_same_in_every_command():
    """One help text and one kind of value; what --out and --data take is each command's own."""
    for name, used in options().items():
        kinds = {
            (p.is_flag, p.multiple, p.type_descriptor.is_path, p.type_descriptor.is_choice)
            for p in used.values()
        }
        assert len(kinds) == 1, name
        if name not in ("--out", "--data", "--precision"):
            assert len({p.help for p in used.values()}) == 1, name


def test_the_page_lists_every_option_and_its_commands():
    rows = re.findall(r"^\| `(--[a-z-]+)`.*\| ([a-z, -]+) \|$", PAGE, re.M)
    listed = {name: used.split(", ") for name, used in rows}
    assert len(rows) == len(listed)
    assert listed == {name: sorted(used) for name, used in options().items()}


def test_the_page_and_the_help_tell_the_statuses(sdmad):
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.M)
    assert {int(code): what for code, what in rows} == STATUSES
    told = " ".join(sdmad("--help").out.split())
    assert all(f"{code} {what}" in told for code, what in STATUSES.items())


@pytest.fixture
def readers_folder(tmp_path, monkeypatch):
    """What a reader of the README has: the bank that it prints, a table, new images."""
    bank = re.search(r"```yaml\n(modality.*?)```", README, re.S)
    (tmp_path / "my-signs.yaml").write_text(bank[1], encoding="utf-8")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 24, 24), dtype=np.uint8)
    (tmp_path / "new-images").mkdir()
    lines = ["file,patient,labels"]
    for i, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,P{i},{('Mass', 'Effusion', 'Mass|Effusion', 'normal')[i % 4]}")
    Image.fromarray(pixels[0]).save(tmp_path / "new-images" / "a.png")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_commands_run_as_they_are_printed(sdmad, readers_folder):
    slow = ("sdmad export", "sdmad signs generate")
    lines = [line for line in printed(README) if not line.startswith(slow)]
    assert [split(line)[0] for line in lines] == ["signs", "fit", "evaluate", "predict", "explain"]
    for line in lines:
        done = sdmad(*split(line))
        assert done.status == 0, (line, done.err)
    for made in ("model", "model.support.json", "results/report.html", "scores.csv", "maps"):
        assert (readers_folder / made).exists(), made
