import pytest

from sdmad import SignBank
from tests.signs.generation.chat_server import ChatServer, fails, rejects_schema

KEY = "sk-verysecretkey0123456789"


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer() as running:
        yield running


@pytest.fixture
def arguments(server, tmp_path, make_clip):
    """All of `sdmad signs generate`; the tiny backbone reads 120 bytes."""
    return [
        *("signs", "generate", "picture", "Ring", "Long bar"),
        *("--model", "small:8b", "--base-url", server.url, "--out", tmp_path / "bank.yaml"),
        *("--cache", tmp_path / "answers", "--signs-per-category", 4),
        *("--backbone", make_clip(context_length=120)),
    ]


def test_a_bank_is_written_told_and_replayed(sdmad, server, arguments, tmp_path):
    server.script = [rejects_schema]
    done = sdmad(*arguments)
    assert done.status == 0, done.err
    assert "3/3: 4 signs of Long bar, in 1 answer" in done.err
    assert done.out.strip() == f"bank: {tmp_path / 'bank.yaml'}"
    text = (tmp_path / "bank.yaml").read_text()
    bank = SignBank.load(tmp_path / "bank.yaml")
    assert bank.names == ("Ring", "Long bar")
    assert bank.provenance(0).model == "small:8b"
    server.shutdown()
    server.server_close()
    again = sdmad(*arguments, "--force")
    assert again.status == 0, again.err
    assert "from the cache" in again.err
    assert (tmp_path / "bank.yaml").read_text() == text


def test_a_bank_that_is_there_is_not_replaced(sdmad, server, arguments, tmp_path):
    (tmp_path / "bank.yaml").write_text("mine")
    done = sdmad(*arguments)
    assert done.status == 2
    assert "--force" in done.err
    assert server.requests == []
    assert (tmp_path / "bank.yaml").read_text() == "mine"


def test_a_failed_run_leaves_no_bank_and_shows_no_key(
    sdmad, server, arguments, tmp_path, monkeypatch
):
    monkeypatch.setenv("MY_KEY", KEY)
    server.script = [fails(401, f"wrong key {KEY}")]
    done = sdmad(*arguments, "--api-key-env", "MY_KEY")
    assert done.status == 2
    assert "error: small:8b at" in done.err
    assert KEY not in done.err + done.out
    assert "Traceback" not in done.err
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert not (tmp_path / "bank.yaml").exists()


def test_mistakes_are_told_before_anything_is_sent(sdmad, server, arguments, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,patient,labels\na.png,Miller,Ring\n")
    at = arguments.index("Ring")
    (tmp_path / "empty").mkdir()
    for wrong, words in (
        ([*arguments[:at], table, *arguments[at + 2 :]], "labels.csv, line 1"),
        ([*arguments, "--api-key-env", "NO_SUCH_KEY"], "no variable NO_SUCH_KEY"),
        ([*arguments, "--prompts", tmp_path / "empty"], "no prompts there"),
        ([*arguments, "--base-url", "localhost:1"], "base URL"),
    ):
        done = sdmad(*wrong)
        assert done.status == 2
        assert words in done.err
    assert server.requests == []


def test_a_missing_package_is_named(sdmad, server, arguments, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    done = sdmad(*arguments)
    assert done.status == 2
    assert 'pip install "sdmad[llm]"' in done.err


def test_sentences_beyond_the_towers_context_are_asked_for_again(
    sdmad, server, arguments, make_clip
):
    done = sdmad(*arguments, "--backbone", make_clip(context_length=8))
    assert done.status == 2
    assert "tokens where the text encoder reads 8; make it shorter" in done.err
    assert len(server.requests) == 4
