from PIL import Image

from sdmad.signs.measure import measure_signs


def test_the_measures_are_shown(sdmad, small_bank, small_bank_file, tiny_clip, tiny_backbone):
    done = sdmad("signs", "check", small_bank_file, "--backbone", tiny_clip)
    assert done.status == 0, done.err
    flat = " ".join(done.out.split())
    found = measure_signs(small_bank, tiny_backbone)
    for row in (*found.sign_table().rows, *found.category_table().rows):
        assert row[-1] in flat
    assert "a round ring" in flat
    assert "AUROC" not in flat


def test_images_add_each_signs_auroc_and_unreadable_ones_are_told(
    sdmad, small_bank_file, tiny_clip, data
):
    arguments = ["signs", "check", small_bank_file, "--backbone", tiny_clip, "--labels", data]
    done = sdmad(*arguments)
    assert done.status == 0, done.err
    assert "AUROC: the sign alone" in " ".join(done.out.split())
    (data.parent / "000.png").write_text("no picture")
    done = sdmad(*arguments)
    assert done.status == 3
    assert "000.png" in done.err
    assert "1 of 24 images" in done.err


def test_the_picture_is_drawn_once(sdmad, small_bank_file, tiny_clip, tmp_path):
    picture = tmp_path / "signs.png"
    arguments = ["signs", "check", small_bank_file, "--backbone", tiny_clip, "--picture", picture]
    done = sdmad(*arguments)
    assert done.status == 0, done.err
    assert f"picture: {picture}" in done.out
    with Image.open(picture) as image:
        assert image.format == "PNG"
    done = sdmad(*arguments)
    assert done.status == 2
    assert "--force" in done.err
    assert sdmad(*arguments, "--force").status == 0
