import json
import sys

import pytest

from sdmad.errors import InputError, SDMADError
from sdmad.signs.generation import AnswerCache, default_cache
from sdmad.signs.generation.cache import Record

ASKED = [{"role": "user", "content": "Write"}]
RECORD = Record("2026-01-31", ("one", "two"))


@pytest.fixture
def cache(tmp_path):
    return AnswerCache(tmp_path / "deep" / "answers")


def test_what_was_put_is_got(cache):
    assert cache.get("m", ASKED) is None
    cache.put("m", ASKED, RECORD)
    assert cache.get("m", ASKED) == RECORD
    assert cache.get("other", ASKED) is None
    assert cache.get("m", [*ASKED, *ASKED]) is None
    (path,) = cache.folder.iterdir()
    assert json.loads(path.read_text()) == {
        "model": "m",
        "date": "2026-01-31",
        "answers": ["one", "two"],
    }


@pytest.mark.parametrize(
    "content",
    [
        "",
        pytest.param("[" * 100_000, id="deep"),
        "[]",
        '{"date": "2026-01-31"}',
        '{"date": "2026-01-31", "answers": []}',
        '{"date": "2026-01-31", "answers": [1]}',
        '{"date": "soon", "answers": ["a"]}',
        pytest.param('{"date": "2026-01-31", "answers": ["' + "a" * 5_000_000 + '"]}', id="large"),
    ],
)
def test_a_file_that_cannot_be_used_counts_as_absent(cache, content):
    cache.put("m", ASKED, RECORD)
    (path,) = cache.folder.iterdir()
    path.write_text(content)
    assert cache.get("m", ASKED) is None


def test_what_the_system_refuses_is_told(cache, tmp_path):
    cache.put("m", ASKED, RECORD)
    (path,) = cache.folder.iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        cache.get("m", ASKED)
    (tmp_path / "file").write_text("")
    blocked = AnswerCache(tmp_path / "file" / "answers")
    assert blocked.get("m", ASKED) is None
    with pytest.raises(SDMADError, match="--cache"):
        blocked.put("m", ASKED, RECORD)


@pytest.mark.skipif(sys.platform != "linux", reason="the place is another on other systems")
def test_the_default_is_the_users_cache(tmp_path, monkeypatch):
    assert default_cache({"XDG_CACHE_HOME": "/somewhere"}).parts[1:] == (
        "somewhere",
        "sdmad",
        "answers",
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache({}) == tmp_path / ".cache" / "sdmad" / "answers"
