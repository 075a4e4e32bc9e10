"""One Ray for all tests of a module: two cores, and as little memory for objects as Ray allows."""

from collections.abc import Iterator

import pytest

from sdmad.archive.engine import Resources, connected

OBJECT_STORE = 80 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Its address; a Ray that the environment names is taken in its place."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_debug_dump_period_milliseconds", "1000")
        with connected(Resources(object_store=OBJECT_STORE)):
            yield ray.get_runtime_context().gcs_address
