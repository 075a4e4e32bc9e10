"""axe-core's rules hold on every page and in every state that a reader meets; nothing runs over."""

import pytest
from playwright.sync_api import expect

from tests_services.pages.doing import first_image

CUT = """[...document.querySelectorAll("dialog, .panel, .card")]
  .filter(box => box.scrollWidth > box.clientWidth).map(box => box.className || box.tagName)"""
"""Boxes whose content is wider than they are."""


def worklist(page):
    page.goto("/")
    page.locator(".work tbody tr").first.wait_for()


def pictures(page):
    page.get_by_role("button", name="Pictures").click()


def nothing_fits(page):
    page.goto("/?text=nothing+has+this+name")
    page.get_by_role("button", name="Show all images").wait_for()


def viewer(page):
    first_image(page)


def viewer_with_a_map(page):
    first_image(page)
    page.keyboard.press("o")
    expect(page.locator(".legend")).to_be_visible()


def viewer_of_a_volume(page):
    first_image(page, "?text=volume")


def viewer_of_what_is_no_image(page):
    page.goto("/?text=broken")
    page.locator(".work .name a").click()
    expect(page.locator(".stage .said")).to_contain_text("broken")


def viewer_of_no_image(page):
    page.goto("/image/999999")
    expect(page.locator("#trouble")).to_contain_text("There is no image 999999")


def viewer_with_what_was_not_saved(page):
    # before the page is there: the first request may pass what is routed later
    page.route("**/api/v1/images/*/readings", lambda route: route.abort())
    first_image(page)
    page.keyboard.press("a")
    page.keyboard.press("u")
    page.get_by_role("button", name="Send all 2 again").wait_for()


def note(page):
    first_image(page)
    page.keyboard.press("e")


def keyboard_help(page):
    first_image(page)
    page.keyboard.press("?")


def refits(page):
    page.goto("/refits")
    expect(page.locator("#list")).to_have_attribute("aria-busy", "false")


def studies(page):
    page.goto("/studies")
    expect(page.locator("#list")).to_have_attribute("aria-busy", "false")


def sign_in(page):
    page.goto("/login")


def refused(page):
    page.goto("/?token=wrong")


STATES = (
    worklist, pictures, nothing_fits, viewer, viewer_with_a_map, viewer_of_a_volume,
    viewer_of_what_is_no_image, viewer_of_no_image, viewer_with_what_was_not_saved, note,
    keyboard_help, refits, studies, sign_in, refused,
)  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_no_rule_is_broken_and_nothing_runs_over_the_edge(opened, violations, state):
    state(opened)
    opened.wait_for_timeout(300)
    assert violations() == []
    assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert opened.evaluate(CUT) == []
