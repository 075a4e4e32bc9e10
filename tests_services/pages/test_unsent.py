"""No reading is lost to a slow server, none at all, a page that is left, or a quick hand."""

import pytest
from playwright.sync_api import expect

from tests_services.pages.conftest import PHONE, SCREENS, WIDE
from tests_services.pages.doing import first_image, forget

READINGS, UNDO = "**/api/v1/images/*/readings", "**/api/v1/readings/*/undo"
one_screen = pytest.mark.parametrize("screen", [SCREENS[0]], indirect=True)


class Gate:
    """Lets requests of a page through, stops them, or holds them back.

    Made before the page is there: the first request may pass one that is made later.
    """

    def __init__(self, page):
        self.way, self.held = "through", []
        for address in (READINGS, UNDO):
            page.route(address, self._meet)

    def _meet(self, route):
        if self.way == "stop":
            route.abort()
        elif self.way == "hold":
            self.held.append(route)
        else:
            route.continue_()

    def open(self):
        self.way = "through"
        for route in self.held:
            route.continue_()


@pytest.fixture
def gate(opened):
    return Gate(opened)


def said(page, image):
    """The verdicts on an image, those that were undone in brackets."""
    readings = page.request.get(f"/api/v1/images/{image}/readings").json()
    return [f"({one['verdict']})" if one["undone"] else one["verdict"] for one in readings]


def first(page):
    """Open the first image; give its number and how many verdicts it has had."""
    image = first_image(page)
    return image, len(said(page, image))


def verdicts(page):
    return page.locator(".verdicts li")


@one_screen
@pytest.mark.parametrize(
    ("key", "kept"), [("u", ["reject", "unsure", "reject"]), ("z", ["(reject)", "reject"])]
)
def test_a_word_that_is_said_again_while_another_is_under_way_stands(opened, gate, key, kept):
    image, before = first(opened)
    opened.keyboard.press("r")
    expect(verdicts(opened)).to_have_count(before + 1)
    gate.way = "hold"
    with opened.expect_request(lambda request: request.method == "POST"):
        opened.keyboard.press(key)
    opened.keyboard.press("r")
    gate.open()
    expect(verdicts(opened)).to_have_count(before + len(kept))
    assert said(opened, image)[before:] == kept


@one_screen
def test_normal_is_said_again_of_an_image_of_which_more_was_said_since(opened, gate):
    image, before = first(opened)
    for count, key in enumerate("mum"):
        opened.keyboard.press(key)
        expect(verdicts(opened)).to_have_count(before + count + 1)
    assert said(opened, image)[before:] == ["normal", "unsure", "normal"]
    opened.keyboard.press("m")
    expect(opened.locator("#live")).to_have_text("Already read as normal")
    assert len(said(opened, image)) == before + 3


@one_screen
def test_what_was_under_way_as_the_page_was_left_is_not_forgotten(opened, gate):
    first(opened)
    gate.way = "hold"
    with opened.expect_request(READINGS):
        opened.keyboard.press("r")
    opened.keyboard.press("u")
    opened.on("dialog", lambda dialog: dialog.accept())
    opened.reload()
    expect(opened.locator("#unsent .notice")).to_have_count(2)
    expect(opened.locator("#unsent")).to_contain_text("The page was left before")


@one_screen
def test_a_key_that_is_pressed_while_the_next_image_comes_is_no_word_on_this_one(opened, gate):
    image, before = first(opened)
    asked = []
    opened.on("request", lambda request: asked.append(request.method))
    held, here = [], opened.url
    opened.route("**/image/*", lambda route: held.append(route))
    opened.keyboard.press("n")
    opened.keyboard.press("r")
    opened.keyboard.press("m")
    opened.wait_for_timeout(300)  # for a request that must not come
    opened.unroute("**/image/*")
    held[0].continue_()
    opened.wait_for_url(lambda address: address != here)
    assert "POST" not in asked
    assert len(said(opened, image)) == before
    expect(opened.locator(".stage .corner")).to_contain_text("W ")
    opened.locator(".finding").first.wait_for()
    after = int(opened.url.split("/image/")[1].split("?")[0])
    forget(opened, after)
    before = len(said(opened, after))
    opened.keyboard.press("r")
    expect(opened.locator("#live")).to_contain_text("Saved: ")
    assert said(opened, after)[before:] == ["reject"]


@one_screen
def test_a_link_within_the_page_leaves_it_not(opened, gate):
    image, before = first(opened)
    opened.locator(".skip").focus()
    opened.keyboard.press("Enter")
    opened.wait_for_url("**#main")
    opened.keyboard.press("r")
    expect(opened.locator("#live")).to_contain_text("Saved: ")
    assert said(opened, image)[before:] == ["reject"]


@one_screen
def test_a_button_that_is_pressed_while_another_answer_comes_is_heard(opened, gate):
    image, before = first(opened)
    gate.way = "hold"
    with opened.expect_request(READINGS):
        opened.keyboard.press("r")
    box = opened.locator("[data-whole=unsure]").bounding_box()
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.mouse.down()
    gate.open()
    expect(opened.locator("#live")).to_contain_text("Saved: ")
    opened.mouse.up()
    expect(verdicts(opened)).to_have_count(before + 2)
    assert said(opened, image)[before:] == ["reject", "unsure"]


@one_screen
def test_undo_takes_no_older_word_for_one_that_was_not_saved(opened, gate):
    image, before = first(opened)
    opened.keyboard.press("r")
    expect(verdicts(opened)).to_have_count(before + 1)
    gate.way = "stop"
    opened.keyboard.press("u")
    expect(opened.locator("#unsent")).to_contain_text("Not saved")
    gate.way = "through"
    opened.keyboard.press("z")
    expect(opened.get_by_role("button", name="Discard")).to_be_focused()
    assert said(opened, image)[before:] == ["reject"]
    opened.keyboard.press("Enter")
    expect(opened.locator("#unsent")).to_be_empty()
    opened.keyboard.press("z")
    expect(verdicts(opened).locator(".undone")).to_have_count(before + 1)
    assert said(opened, image)[before:] == ["(reject)"]


@one_screen
def test_undo_after_the_page_was_loaded_again_waits_until_it_is_known_who_reads(opened, gate):
    image, before = first(opened)
    opened.keyboard.press("r")
    expect(verdicts(opened)).to_have_count(before + 1)
    asked = []
    opened.route("**/api/v1/me", lambda route: asked.append(route))
    opened.reload()
    opened.locator(".finding").first.wait_for()
    opened.keyboard.press("z")
    for route in asked:
        route.continue_()
    expect(verdicts(opened).locator(".undone")).to_have_count(before + 1)
    assert said(opened, image)[before:] == ["(reject)"]


@one_screen
def test_what_was_said_in_another_tab_is_not_passed_over(opened, gate):
    image, before = first(opened)
    opened.keyboard.press("r")
    expect(verdicts(opened)).to_have_count(before + 1)
    other = opened.context.new_page()
    other.goto(opened.url)
    expect(verdicts(other)).to_have_count(before + 1)
    other.keyboard.press("u")
    expect(verdicts(other)).to_have_count(before + 2)
    opened.keyboard.press("r")
    expect(verdicts(opened)).to_have_count(before + 3)
    assert said(opened, image)[before:] == ["reject", "unsure", "reject"]


@one_screen
def test_what_was_undone_in_another_tab_is_shown(opened, gate):
    image, before = first(opened)
    opened.keyboard.press("r")
    expect(verdicts(opened)).to_have_count(before + 1)
    forget(opened, image)
    opened.keyboard.press("z")
    expect(opened.locator("#trouble")).to_contain_text("undone")
    expect(verdicts(opened).locator(".undone")).to_have_count(before + 1)


@pytest.mark.parametrize("screen", [(WIDE, "light"), (PHONE, "dark")], indirect=True)
def test_many_unsaved_readings_are_in_sight_and_leave_room_for_the_image(opened, gate, screen):
    first(opened)
    gate.way = "stop"
    for key in "rururuururur":
        opened.keyboard.press(key)
    send = opened.get_by_role("button", name="Send all 12 again")
    expect(send).to_be_attached()
    opened.locator("#note").scroll_into_view_if_needed()
    expect(opened.locator("#unsent .notice").last).to_be_in_viewport()
    expect(send).to_be_in_viewport()
    opened.get_by_role("button", name="Normal").click(trial=True)  # nothing lies over it
    assert opened.locator("#unsent").bounding_box()["height"] <= 0.4 * screen.height + 1
    gate.way = "through"
    send.click()
    expect(opened.locator("#unsent")).to_be_empty()
