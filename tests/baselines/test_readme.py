"""The READMEs of the compared systems: what differs, and every file."""

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


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_readme_of_a_folder_names_its_files_and_folders(folder):
    text = (folder / README).read_text(encoding="utf-8")
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    folders = [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]
    assert [name for name in [*files, *folders] if f"`{name}`" not in text] == []
