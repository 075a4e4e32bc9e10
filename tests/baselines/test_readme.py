"""The READMEs of the compared systems: what differs, and every file."""

import re
from pathlib import Path

import pytest

import sdmad.baselines
from sdmad.baselines.readme import README, differences, differs_of
from sdmad.baselines.registry import list_systems

PACKAGE = Path(sdmad.baselines.__file__).parent
FOLDERS = [PACKAGE, *sorted({path.parent for path in PACKAGE.glob("*/*.py")})]


def test_the_readmes_say_what_differs_of_every_system_and_of_no_other():
    assert set(differences()) == {system.name for system in list_systems()}
    assert all(system.differs for system in list_systems())


def test_a_system_has_the_paragraphs_of_all_headings_that_name_it():
    assert differs_of("dra-imagenet").endswith(differs_of("dra"))
    assert differs_of("winclip-few").startswith(differs_of("winclip"))
    assert "  " not in differs_of("dra-imagenet")


def test_a_system_of_which_no_readme_speaks_is_the_developers_mistake():
    with pytest.raises(LookupError, match="has a heading 'What differs: new'"):
        differs_of("new")


def test_what_was_searched_is_said_to_be():
    """A section that says otherwise is of systems without searched settings."""
    untold = re.compile(r"(?:none|nothing) was searched")
    for folder in FOLDERS:
        readme = (folder / README).read_text(encoding="utf-8")
        for section in filter(untold.search, re.split(r"^## (?!What)", readme, flags=re.MULTILINE)):
            file = re.search(r"`(\w+)\.py`", section)
            assert file is not None
            home = file[1] if folder == PACKAGE else folder.name
            mine = [s for s in list_systems() if str(s.home).partition(".")[0] == home]
            assert mine
            assert [s.name for s in mine if s.searched] == [], section.partition("\n")[0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_readme_of_a_folder_names_its_files_and_folders(folder):
    text = (folder / README).read_text(encoding="utf-8")
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    folders = [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]
    assert [name for name in [*files, *folders] if f"`{name}`" not in text] == []
