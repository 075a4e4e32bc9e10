"""The model that a cluster scores by."""

from tests.conftest import (  # noqa: F401
    fitted,
    make_clip,
    model_folder,
    pictures,
    small_bank,
    tiny_backbone,
    tiny_clip,
)
