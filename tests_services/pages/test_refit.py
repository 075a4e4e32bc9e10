"""A refit from the first reading to the switch, and the page that shows it."""

import re

import pytest
from playwright.sync_api import expect

from tests_services.pages.doing import first_image

MINUTES = 10 * 60_000


@pytest.fixture(scope="session")
def refitted(browser, served):
    """The page of a refit that has ended, after a reading was given."""
    context = browser.new_context(base_url=served.address, viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(f"/?token={served.token}")
    first_image(page)
    page.keyboard.press("m")
    expect(page.locator("#state")).to_have_text("Read")
    page.goto("/refits")
    page.get_by_role("button", name="Refit with the new labels").click()
    expect(page.locator("[data-state=running]")).to_contain_text("step")
    page.locator("[data-state=done]").wait_for(timeout=MINUTES)
    yield page
    context.close()


def test_both_models_stand_side_by_side_with_intervals(refitted):
    table = refitted.get_by_role("region", name="Comparison of the models")
    rows = table.locator("tbody tr")
    assert rows.count() >= 2
    for text in rows.all_inner_texts():
        assert re.search(r"New is better|New is worse|Cannot be told apart|Too few images", text)
    expect(table.locator("caption")).to_contain_text("95% intervals")


def test_nothing_is_switched_before_somebody_says_so(refitted):
    before = refitted.locator("#model").inner_text()
    refitted.get_by_role("button", name="Switch to this model").click()
    dialog = refitted.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep the model in use").click()
    assert refitted.locator("#model").inner_text() == before
    refitted.get_by_role("button", name="Switch to this model").click()
    dialog.get_by_role("button", name="Switch", exact=True).click()
    expect(refitted.locator("[data-state=done]")).to_contain_text("In use")
    expect(refitted.locator("#model")).not_to_have_text(before)


def test_the_page_of_a_refit_breaks_no_rule(refitted, opened, violations):
    opened.goto("/refits")
    opened.locator("[data-state=done]").first.wait_for()
    assert violations() == []
    assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
