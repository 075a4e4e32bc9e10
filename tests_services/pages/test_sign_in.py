"""Readers with accounts: signing in, what is theirs to do, and signing out."""

import pytest
from playwright.sync_api import expect

from tests_services.pages.conftest import sdmad

PASSWORD = "a password of several words"


@pytest.fixture(scope="module")
def reader(served):
    """The name of a reader who has an account."""
    table = served.folder / "phantoms" / "labels.csv"
    sdmad("serve-account", "add", "ann", "--table", table, input=PASSWORD + "\n")
    return "ann"


@pytest.fixture
def page(browser, served):
    page = browser.new_page(base_url=served.address)
    yield page
    page.close()


def sign_in(page, name, password):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_wrong_password_is_told_in_place(page, reader):
    page.goto("/")
    sign_in(page, reader, "another")
    expect(page.locator("#login-trouble")).to_contain_text("No account has this name")
    assert page.url.endswith("/login")


def test_a_reader_reads_under_a_name_and_signs_out(page, reader):
    page.goto("/")
    sign_in(page, reader, PASSWORD)
    expect(page.locator("#reader")).to_contain_text(reader)
    page.locator(".work .name a").nth(3).click()
    page.get_by_role("button", name="Normal").click()
    expect(page.locator(".verdicts li").first).to_contain_text(reader)
    expect(page.locator("#state")).to_have_text("Read")
    page.goto("/studies")
    expect(page.locator("#list")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#new")).to_be_hidden()  # an admin's
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    assert page.request.get("/api/v1/images").status == 401


def test_after_signing_in_comes_what_was_asked_for_and_nobody_elses_page(page, reader):
    page.goto("/login?next=/refits")
    sign_in(page, reader, PASSWORD)
    expect(page.locator("h1")).to_have_text("Refit")
    for elsewhere in ("https://example.org/", "//example.org/", "/\\example.org"):
        page.goto(f"/login?next={elsewhere}")
        sign_in(page, reader, PASSWORD)
        expect(page.locator("h1")).to_have_text("Worklist")
