"""Without the extra: a clear error, and nothing else of the package suffers."""

import sys

import pytest

from sdmad import load_backbone
from sdmad.errors import ModelError


@pytest.mark.parametrize("name", ["ViT-L-14-quickgelu/openai", "hf-hub:owner/name", "/folder", ""])
def test_the_error_names_the_extra(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as where it is not installed
    with pytest.raises(
        ModelError, match=r'not installed .*pip install "sdmad\[openclip\]"'
    ) as caught:
        load_backbone(f"open_clip:{name}")
    assert f"open_clip:{name} needs open_clip, which is not installed" in str(caught.value)


def test_the_towers_can_be_imported_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for module in ("open_clip_towers", "open_clip_files", "open_clip_words"):
        monkeypatch.delitem(sys.modules, f"sdmad.backbones.{module}", raising=False)
        __import__(f"sdmad.backbones.{module}")
