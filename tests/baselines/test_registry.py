"""The catalogue: one light list, found by name and by wildcard."""

import subprocess
import sys

import pytest

from sdmad.baselines.registry import SYSTEMS, Recipe, load_system, match_systems
from sdmad.errors import InputError


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_home_has_the_systems_recipe(name):
    assert load_system(name).name == name
    assert isinstance(load_system(name).recipe, Recipe)


def test_wildcards_and_names_mean_systems_in_the_order_given():
    assert match_systems("winclip*,clip-names") == ("winclip", "winclip-few", "clip-names")
    assert match_systems(" sd-mad , sd-mad* ")[0] == "sd-mad"
    assert len(match_systems("sd-mad,sd-mad*")) == 5
    assert match_systems("*") == tuple(SYSTEMS)
    assert match_systems("*clip-s?gns") == ("clip-signs",)


def test_thresholds_of_detectors_trained_on_the_support_set_are_seen():
    seen = {name for name, system in SYSTEMS.items() if system.seen_thresholds}
    assert seen == {"mvfa", "dra", "dra-imagenet", "bgad", "bgad-imagenet"}


def test_what_means_nothing_is_told_with_what_is_near():
    with pytest.raises(InputError, match=r"no system 'clip-sings'; did you mean clip-signs"):
        match_systems("sd-mad,clip-sings")
    with pytest.raises(InputError, match=r"no system 'zzz\*'\. There are clip-names, "):
        match_systems("zzz*")
    with pytest.raises(InputError, match="did you mean mvfa"):
        load_system("mvfaa")


def test_the_list_of_systems_needs_neither_torch_nor_numpy():
    code = (
        "import sys; sys.argv = ['sdmad', 'compare', '--list']\n"
        "from sdmad.cli.main import run\n"
        "try: run()\n"
        "finally: print('heavy:', {'torch', 'numpy', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "heavy: set()" in done.stdout
    assert "sd-mad-mvfa" in done.stdout
