import pytest
import yaml

from sdmad.detector.model_signs import read_model_signs


@pytest.fixture
def changed(small_bank, tmp_path):
    """The small bank with one sign reworded and one added."""
    content = yaml.safe_load(small_bank.to_yaml())
    content["categories"]["Ring"]["signs"][0] = "a perfectly round ring"
    content["categories"]["Dots"]["signs"].append("[red]specks[/red]")
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_two_banks_are_compared(sdmad, small_bank_file, changed):
    done = sdmad("signs", "diff", small_bank_file, changed)
    assert done.status == 0, done.err
    flat = " ".join(done.out.split())
    assert "2 changes" in flat
    assert "reworded Ring a round ring a perfectly round ring" in flat
    assert "added Dots [red]specks[/red]" in flat
    assert "In the model" not in flat
    done = sdmad("signs", "diff", changed, changed)
    assert "the same categories and sentences" in done.out


def test_a_model_says_which_of_its_signs_are_touched(sdmad, model_folder, changed):
    model = read_model_signs(model_folder)
    mark = "kept" if model.kept("Ring", "a round ring") else "discarded by selection"
    done = sdmad("signs", "diff", model_folder, changed)
    assert done.status == 0, done.err
    flat = " ".join(done.out.split())
    assert f"reworded Ring a round ring a perfectly round ring {mark}" in flat
    assert "added Dots [red]specks[/red] not in it" in flat
    assert "1 of the model's 6 signs are touched" in done.err


def test_mistakes_are_one_line(sdmad, changed, tmp_path):
    for wrong in (tmp_path / "none.yaml", tmp_path):
        done = sdmad("signs", "diff", wrong, changed)
        assert done.status == 2
        assert "Traceback" not in done.err
        assert str(wrong) in done.err
