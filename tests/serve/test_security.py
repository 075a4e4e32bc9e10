"""Who gets in, and with what; what is refused, and how."""

import pytest
from fastapi.testclient import TestClient

from sdmad.errors import InputError
from sdmad.serve.rates import Rate
from sdmad.serve.security.headers import ALWAYS
from sdmad.serve.settings import ServeLimits
from sdmad.serve.storage import accounts, events

API = "/api/v1"
PASSWORD = "four words or more"


def visit(browser, house):
    return browser.get(f"/?token={house.token.text}")


def csrf(browser):
    return {"X-CSRF-Token": browser.get(f"{API}/me").json()["csrf"]}


def add_account(house, name, role="reader"):
    with house.storage.writing() as session:
        accounts.add(session, name, PASSWORD, role)


def sign_in(browser, name, password=PASSWORD):
    return browser.post(f"{API}/login", json={"name": name, "password": password})


def test_nobody_gets_in_without_the_token(browser):
    answer = browser.get(f"{API}/images")
    assert answer.status_code == 401
    assert "printed" in answer.json()["error"]
    assert browser.get("/").status_code == 401
    assert browser.get(f"{API}/openapi.json").status_code == 401
    assert browser.get(f"{API}/health").status_code == 200


def test_the_printed_address_lets_a_browser_in_and_is_forgotten(browser, house):
    first = visit(browser, house)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert house.token.text not in cookie
    assert browser.get(f"{API}/images").status_code == 200


def test_the_rest_of_the_address_is_kept(browser, house):
    place = "http://127.0.0.1:8000//elsewhere.org/image/3"
    answer = browser.get(f"{place}?a=1&token={house.token.text}&b=%26")
    assert answer.headers["location"] == "/elsewhere.org/image/3?a=1&b=%26"


def test_a_wrong_token_lets_nobody_in_and_few_can_be_tried(browser, house):
    for _ in range(house.settings.limits.logins):
        answer = browser.get("/?token=guessed")
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
    answer = browser.get("/?token=guessed")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    with house.storage.reading() as session:
        assert [row.what for row in events.latest(session, 9)] == ["wrong token"] * 5


def test_wrong_tokens_do_not_lock_the_owner_out(browser, house):
    for _ in range(house.settings.limits.logins + 1):
        browser.get("/?token=guessed")
    assert visit(browser, house).status_code == 303
    assert browser.get(f"{API}/images").status_code == 200


@pytest.mark.parametrize("header", ["Bearer guessed", "Bearer ", "Basic eDp5", "Bearer \u00fc"])
def test_a_wrong_bearer_lets_nobody_in(browser, header):
    answer = browser.get(f"{API}/images", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_cookie_alone_changes_nothing(browser, house):
    visit(browser, house)
    reading = {"verdict": "normal"}
    place = f"{API}/images/1/readings"
    assert browser.post(place, json=reading).status_code == 403
    wrong = {"X-CSRF-Token": "guessed"}
    assert browser.post(place, json=reading, headers=wrong).status_code == 403
    right = csrf(browser)
    assert browser.post(place, json=reading, headers=right).status_code == 201
    foreign = {**right, "Sec-Fetch-Site": "cross-site"}
    assert browser.post(place, json=reading, headers=foreign).status_code == 403
    older = {**right, "Origin": "http://elsewhere.org"}
    assert browser.post(place, json=reading, headers=older).status_code == 403


@pytest.mark.parametrize("host", ["elsewhere.org", "127.0.0.1.elsewhere.org", "10.0.0.3:8000", "["])
def test_a_foreign_name_that_points_here_gets_nothing(client, host):
    answer = client.get(f"{API}/images", headers={"Host": host})
    assert answer.status_code == 421
    assert client.get(f"{API}/health", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:8000", "[::1]:8000"])
def test_this_machines_names_are_answered(client, host):
    assert client.get(f"{API}/images", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "place", [f"{API}/health", f"{API}/images", f"{API}/images/99", "/", "/nowhere", "/?token=x"]
)
def test_every_answer_tells_the_browser_to_be_strict(browser, place):
    headers = browser.get(place).headers
    assert {name: headers[name] for name in ALWAYS} == ALWAYS
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/images/../..",
        f"{API}/images/%2e%2e/%2e%2e/etc/passwd",
        f"{API}/images/1/../../../etc/passwd",
        f"{API}/images/1%00",
        f"{API}/images/..%2f..%2fetc%2fpasswd/pixels",
        f"{API}/images/-1",
        f"{API}/images/1e3",
        f"{API}/images/99999999999999999999",
        "/static/../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
    ],
)
def test_tricks_with_paths_lead_nowhere(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


def test_a_large_body_is_refused(client, make_app):
    answer = client.post(f"{API}/images/1/readings", content=b"x" * ((1 << 20) + 1))
    assert answer.status_code == 413
    assert "1,048,576 bytes" in answer.json()["error"]


def test_a_large_body_is_refused_that_does_not_say_its_size(client):
    parts = (b" " * (1 << 16) for _ in range(64))
    answer = client.post(f"{API}/images/1/readings", content=parts)
    assert answer.status_code == 413
    assert client.get(f"{API}/images/1/readings").json() == []


@pytest.mark.parametrize(
    "body", [b"\xff", b"[" * 100_000, b"{", b"null", b'{"verdict": 1e999}', b'{"note": "\\ud800"}']
)
def test_a_body_that_is_no_reading_is_refused_in_words(client, body):
    answer = client.post(f"{API}/images/1/readings", content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]
    lone = client.post(
        f"{API}/images/1/readings", content=b'{"verdict": "normal", "note": "\\ud800"}'
    )
    assert lone.status_code in (400, 422)  # no database could hold it


def test_files_may_be_larger_and_have_their_own_bound(make_app):
    app = make_app(limits=ServeLimits(body=2 << 20))
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://localhost", headers=bearer) as client:
        place = f"{API}/images/1/readings"  # takes no files, which is told after they were read
        two = client.post(place, files={"a": b"x" * (1 << 20), "b": b"x" * (1 << 19)})
        more = client.post(place, files={"a": b"x" * (2 << 20)})
    assert (two.status_code, more.status_code) == (422, 413)


def test_who_asks_too_often_has_to_wait(make_app):
    app = make_app(limits=ServeLimits(requests=3))
    bearer = {"Authorization": f"Bearer {app.state.house.token.text}"}
    with TestClient(app, base_url="http://localhost", headers=bearer) as client:
        found = [client.get(f"{API}/me") for _ in range(4)]
        other = client.get(f"{API}/me", headers={"Authorization": "Bearer guessed"})
    assert [answer.status_code for answer in found] == [200, 200, 200, 429]
    assert 1 <= int(found[-1].headers["retry-after"]) <= 20
    assert other.status_code == 401  # counted apart


def test_a_rate_fills_with_time():
    time = 0.0
    rate = Rate(60, clock=lambda: time)
    assert [rate.wait("a") for _ in range(60)] == [0] * 60
    assert (rate.wait("a"), rate.blocked("a"), rate.wait("b")) == (1, 1, 0)
    time = 2.0  # at one a second, two
    assert [rate.wait("a"), rate.wait("a"), rate.wait("a")] == [0, 0, 1]


def test_a_reader_signs_in_and_out(browser, house):
    add_account(house, "ann")
    assert browser.get("/").headers["location"] == "/login"
    answer = sign_in(browser, "ann")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert answer.json()["reader"] == "ann"
    assert browser.get(f"{API}/me").json() == answer.json()
    right = csrf(browser)
    kept = browser.post(f"{API}/images/1/readings", json={"verdict": "normal"}, headers=right)
    assert kept.json()["reader"] == "ann"
    secret = dict(browser.cookies)
    assert browser.post(f"{API}/logout", headers=right).status_code == 204
    browser.cookies.update(secret)  # what was kept of the session opens nothing any more
    assert browser.get(f"{API}/me").status_code == 401


def test_a_sign_in_that_fails_says_not_why_and_few_can_be_tried(browser, house):
    add_account(house, "ann")
    wrong, nobody = sign_in(browser, "ann", "a guess of some length"), sign_in(browser, "bob")
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.json() == nobody.json()
    for _ in range(house.settings.limits.logins):
        sign_in(browser, "ann", "another guess")
    assert sign_in(browser, "ann").status_code == 429
    with house.storage.reading() as session:
        assert {row.what for row in events.latest(session, 9)} == {"sign-in failed"}


@pytest.mark.parametrize("what", ["removed", "another password"])
def test_an_account_that_changes_in_the_middle_of_a_sign_in(browser, house, monkeypatch, what):
    add_account(house, "ann")
    true_check = accounts.checked

    def checked(session, name, password):
        found = true_check(session, name, password)
        with house.storage.writing() as other:
            if what == "removed":
                accounts.remove(other, "ann")
            else:
                accounts.change_password(other, "ann", "another four words")
        return found

    monkeypatch.setattr(accounts, "checked", checked)
    answer = sign_in(browser, "ann")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_session_ends(make_app):
    app = make_app(limits=ServeLimits(session=0))
    add_account(app.state.house, "ann")
    with TestClient(app, base_url="http://localhost") as browser:
        answer = sign_in(browser, "ann")
        assert answer.status_code == 200
        name, _, value = answer.headers["set-cookie"].split(";")[0].partition("=")
        browser.cookies.set(name, value)
        assert browser.get(f"{API}/me").status_code == 401


def test_another_password_ends_the_sessions(browser, house):
    add_account(house, "ann")
    sign_in(browser, "ann")
    with house.storage.writing() as session:
        token = accounts.new_token(session, "ann")
    shown = {"Authorization": f"Bearer {token}"}
    assert browser.get(f"{API}/me", headers=shown).json()["csrf"] == ""
    with house.storage.writing() as session:
        accounts.change_password(session, "ann", PASSWORD + "!")
    assert browser.get(f"{API}/me").status_code == 401
    assert browser.get(f"{API}/me", headers=shown).status_code == 401


def test_a_cookies_secret_is_no_bearers_and_a_bearers_no_cookie(browser, house):
    add_account(house, "ann")
    secret = sign_in(browser, "ann").headers["set-cookie"].split(";")[0].partition("=")[2]
    browser.cookies.clear()
    shown = {"Authorization": f"Bearer {secret}"}
    assert browser.get(f"{API}/me", headers=shown).status_code == 401
    with house.storage.writing() as session:
        token = accounts.new_token(session, "ann")
    browser.cookies.set("sdmad-session-8000", token)
    assert browser.get(f"{API}/me").status_code == 401


def test_only_an_admin_undoes_for_others_and_reads_the_log(browser, house):
    for name, role in (("ann", "reader"), ("bob", "reader"), ("eve", "admin")):
        add_account(house, name, role)
    sign_in(browser, "ann")
    headers = csrf(browser)
    reading = browser.post(f"{API}/images/1/readings", json={"verdict": "normal"}, headers=headers)
    place = f"{API}/readings/{reading.json()['id']}/undo"
    sign_in(browser, "bob")
    answer = browser.post(place, headers=csrf(browser))
    assert answer.status_code == 403
    assert answer.json()["error"] == "reading 1 is ann's; only an admin undoes it"
    assert browser.get(f"{API}/events").status_code == 403
    sign_in(browser, "eve")
    assert browser.post(place, headers=csrf(browser)).status_code == 200
    log = [(row["who"], row["what"]) for row in browser.get(f"{API}/events").json()]
    assert log[:3] == [("eve", "reading undone"), ("eve", "sign-in"), ("bob", "sign-in")]


def test_off_this_machine_accounts_are_needed_and_the_token_opens_nothing(make_app, database):
    with pytest.raises(InputError, match=r"serve-account add NAME"):
        make_app(host="0.0.0.0")
    with accounts_of(database) as session:
        accounts.add(session, "ann", PASSWORD, "reader")
    app = make_app(host="0.0.0.0")
    token = app.state.house.token.text
    with TestClient(app, base_url="http://reading-room.org", follow_redirects=False) as browser:
        assert browser.get(f"/?token={token}").status_code == 401
        shown = {"Authorization": f"Bearer {token}"}
        assert browser.get(f"{API}/me", headers=shown).status_code == 401
        assert sign_in(browser, "ann").status_code == 200
        assert browser.get(f"{API}/me").json()["reader"] == "ann"


def accounts_of(database):
    from sdmad.serve.storage.engine import Storage

    return Storage(database).writing()


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("ann", "too short", "12 to 1024"),
        ("", PASSWORD, "reader's name"),
        ("a\nb", PASSWORD, "reader's name"),
        ("x" * 64, PASSWORD, "reader's name"),
    ],
)
def test_an_account_that_cannot_be_is_told(storage, name, password, why):
    with pytest.raises(InputError, match=why), storage.writing() as session:
        accounts.add(session, name, password, "reader")


def test_a_password_is_kept_as_its_argon2_hash(storage):
    with storage.writing() as session:
        accounts.add(session, "ann", PASSWORD, "reader")
        (account,) = accounts.all_of_them(session)
    assert account.password.startswith("$argon2id$")
    with pytest.raises(InputError, match="there is such an account"), storage.writing() as session:
        accounts.add(session, "ann", PASSWORD, "reader")
