"""What readers do, done in a browser: wide and on a phone, light and dark."""

import csv
import io
import re
import struct
import time
import zlib

import pytest
from playwright.sync_api import expect

from tests_services.pages.conftest import SCREENS
from tests_services.pages.doing import first_image

READING = "**/api/v1/images/*/readings"
SPOTS = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const pixels = data.length / 4;
  let [grey, colour] = [0, 0];
  for (let i = 0; i < data.length; i += 4) {
    const [red, green, blue] = data.subarray(i, i + 3);
    grey += red;
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > 12) colour += 1;
  }
  return { grey: grey / pixels, colour: colour / pixels };
}"""
POINT = """(canvas, [x, y]) => {
  const box = canvas.getBoundingClientRect();
  const ratio = canvas.width / box.width;
  const place = [(x - box.left) * ratio, (y - box.top) * ratio, 1, 1];
  return canvas.getContext("2d").getImageData(...place).data[0];
}"""


def canvas(page):
    return page.locator(".stage .view > canvas")


def spots(page):
    """How bright the image is drawn, and which share of it has a colour."""
    page.wait_for_timeout(150)
    return canvas(page).evaluate(SPOTS)


def middle(page):
    box = canvas(page).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def told(page, address):
    """What the interface answers to this browser."""
    answer = page.request.get(f"/api/v1{address}")
    assert answer.ok
    return answer.json()


def picture_bomb():
    """A PNG of 112 kB that says it holds, and does hold, 30000 by 30000 pixels."""
    side = 30_000
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*one) for one in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


@pytest.mark.parametrize("screen", [SCREENS[0]], indirect=True)  # few wrong tokens can be tried
def test_the_token_leaves_the_address_and_a_wrong_one_opens_nothing(opened, browser, served):
    assert "token" not in opened.url
    page = browser.new_page(base_url=served.address)
    assert page.goto("/?token=wrong").status == 401
    expect(page.locator("main")).to_contain_text("This token is not this server's")
    assert page.request.get("/api/v1/images").status == 401
    page.close()


def test_the_most_abnormal_come_first(opened):
    shown = opened.locator(".amount:not(.unsure-amount) .number").all_inner_texts()
    amounts = [float(found[0]) for text in shown if (found := re.search(r"[01]\.\d\d", text))]
    assert len(amounts) >= 40
    assert amounts == sorted(amounts, reverse=True)


def test_filters_stand_in_the_address_and_go_back(opened):
    opened.get_by_label("Search").fill("00001")
    expect(opened.locator(".work tbody tr")).to_have_count(11)  # 000001, 000010 to 000019
    assert "text=00001" in opened.url
    opened.get_by_label("Search").fill("no such image")
    opened.get_by_role("button", name="Show all images").click()
    expect(opened.locator(".work tbody tr")).to_have_count(50)
    category = opened.get_by_label("Finding").locator("option").nth(1).get_attribute("value")
    opened.get_by_label("Finding").select_option(category)
    expect(opened).to_have_url(re.compile("category="))
    expect(opened.locator("#list")).to_have_attribute("aria-busy", "false")
    found = told(opened, f"/images?category={category}")["total"]
    expect(opened.locator(".pager")).to_contain_text(f"of {found} image")
    opened.go_back()
    expect(opened.locator(".pager")).to_contain_text("of 62 images")


def test_pages_of_the_list(opened):
    first = opened.locator(".work .name a").all_inner_texts()
    opened.get_by_role("button", name="Next").click()
    expect(opened.locator(".work tbody tr")).to_have_count(12)
    second = opened.locator(".work .name a").all_inner_texts()
    assert len({*first, *second}) == 62
    expect(opened.locator(".pager")).to_contain_text("51\u201362 of 62 images")


def test_a_page_behind_the_last_is_the_last(opened):
    opened.goto("/?page=99")
    expect(opened.locator(".pager")).to_contain_text("51\u201362 of 62 images")
    expect(opened.locator(".work tbody tr")).to_have_count(12)


def test_a_filter_that_there_is_none_of_leads_back_to_all(opened):
    opened.goto("/?state=done&sort=name")
    expect(opened.locator("#trouble")).to_contain_text("state")
    opened.get_by_role("button", name="Show all images").click()
    expect(opened.locator(".work tbody tr")).to_have_count(50)
    expect(opened.locator("#trouble")).to_be_empty()


def test_a_file_that_is_no_image_says_so(opened):
    opened.goto("/?text=broken")
    expect(opened.locator(".top-finding")).to_contain_text("Not readable")
    opened.locator(".work .name a").click()
    expect(opened.locator(".stage .said")).to_contain_text("broken.png")
    expect(opened.locator(".tools")).to_be_hidden()  # of nothing


def test_dragging_sets_the_window_and_reset_gives_it_back(opened):
    first_image(opened)
    before, stored = spots(opened), opened.locator(".corner div").first.inner_text()
    x, y = middle(opened)
    opened.mouse.move(x, y)
    opened.mouse.down()
    opened.mouse.move(x + 60, y + 80, steps=4)
    opened.mouse.up()
    darker = spots(opened)
    assert opened.locator(".corner div").first.inner_text() != stored
    assert darker["grey"] < before["grey"] - 10  # the level rose, so all is darker
    opened.keyboard.press("0")
    assert spots(opened)["grey"] == pytest.approx(before["grey"], abs=0.5)
    assert opened.locator(".corner div").first.inner_text() == stored


def test_what_is_drawn_is_dicoms_window_of_the_value_under_the_pointer(opened):
    first_image(opened)
    for _ in range(9):
        opened.keyboard.press("+")  # until pixels are drawn as they are
    x, y = middle(opened)
    opened.mouse.move(x + 7, y - 11)
    opened.wait_for_timeout(150)
    width, level = (
        float(n) for n in re.findall(r"[WL] ([\d.]+)", opened.locator(".corner").inner_text())
    )
    value = float(opened.locator(".corner div").last.inner_text().split(": ")[1])
    # PS3.3 C.11.2.1.2.1
    grey = ((value - (level - 0.5)) / (width - 1) + 0.5) * 255
    drawn = canvas(opened).evaluate(POINT, [x + 7, y - 11])
    assert drawn == pytest.approx(min(255, max(0, grey)), abs=1)


def test_the_wheel_turns_slices_of_a_volume_and_enlarges_other_images(opened):
    first_image(opened, "?text=volume")
    expect(opened.locator(".slices output")).to_have_text("4 of 8")
    opened.mouse.move(*middle(opened))
    opened.mouse.wheel(0, 100)
    expect(opened.locator(".slices output")).to_have_text("5 of 8")
    opened.keyboard.press("End")
    expect(opened.locator(".slices output")).to_have_text("8 of 8")
    first_image(opened)
    opened.mouse.move(*middle(opened))
    opened.mouse.wheel(0, -120)
    expect(opened.locator(".corner")).not_to_contain_text("100%")


def test_the_map_is_laid_over_faded_and_taken_away(opened):
    first_image(opened)
    assert spots(opened)["colour"] == 0
    opened.locator(".finding .map").first.click()
    expect(opened.locator(".legend")).to_contain_text("Map: ")
    strong = spots(opened)["colour"]
    assert strong > 0.02
    opened.get_by_label("Map", exact=True).fill("5")
    assert spots(opened)["colour"] < strong / 2
    opened.locator(".finding .map").first.click()
    expect(opened.locator(".legend")).to_be_hidden()
    assert spots(opened)["colour"] == 0


def test_accept_is_kept_shown_and_undone(opened):
    image = first_image(opened)
    before = len(told(opened, f"/images/{image}")["readings"])
    finding = opened.locator(".finding").first
    category = finding.get_attribute("data-category")
    finding.locator("[data-verdict]").first.click()
    expect(finding.locator("[data-verdict]").first).to_have_attribute("aria-pressed", "true")
    (reading,) = told(opened, f"/images/{image}")["readings"][before:]
    assert reading["category"] == category
    assert reading["verdict"] in ("accept", "add")
    exported = csv.DictReader(io.StringIO(opened.request.get("/api/v1/labels.csv").text()))
    name = opened.locator("#name").inner_text()
    assert [row[category] for row in exported if row["file"].endswith(name)] == ["1"]
    expect(opened.locator(".verdicts .undone")).to_have_count(before)
    opened.keyboard.press("z")
    expect(opened.locator(".verdicts .undone")).to_have_count(before + 1)
    assert told(opened, f"/images/{image}")["readings"][before]["undone"]


def test_export_gives_a_file(opened):
    with opened.expect_download() as download:
        opened.get_by_role("link", name="Export labels").click()
    assert download.value.suggested_filename == "labels.csv"
    header = download.value.path().read_text("utf-8").splitlines()[0]
    categories = [one["name"] for one in told(opened, "/models")[0]["categories"]]
    assert header.split(",") == ["file", "patient", "split", *categories, "normal"]


def test_a_reading_that_was_not_saved_is_said_and_sent_again(opened):
    opened.route(READING, lambda route: route.abort())
    image = first_image(opened)
    before = len(told(opened, f"/images/{image}")["readings"])
    opened.keyboard.press("r")
    expect(opened.locator("#unsent")).to_contain_text("Not saved")
    expect(opened.locator("#unsent")).to_contain_text("The server does not answer")
    assert len(told(opened, f"/images/{image}")["readings"]) == before
    opened.goto("/")
    opened.unroute(READING)
    opened.get_by_role("button", name="Send again").click()
    expect(opened.locator("#unsent")).to_be_empty()
    (reading,) = told(opened, f"/images/{image}")["readings"][before:]
    assert reading["verdict"] == "reject"


def test_what_is_being_sent_again_is_kept_until_it_is_saved(opened):
    opened.route(READING, lambda route: route.abort())
    first_image(opened)
    opened.keyboard.press("r")
    expect(opened.locator("#unsent")).to_contain_text("Not saved")
    opened.unroute(READING)
    opened.route(READING, lambda route: None)  # no answer comes
    with opened.expect_request(READING):
        opened.get_by_role("button", name="Send again").click()
    opened.on("dialog", lambda dialog: dialog.accept())
    opened.reload()
    expect(opened.locator("#unsent")).to_contain_text("Not saved")


def test_a_reading_and_the_next_image_at_once_lose_nothing(opened):
    opened.route(READING, lambda route: (time.sleep(0.5), route.continue_()))
    image = first_image(opened)
    opened.keyboard.press("r")
    opened.keyboard.press("u")
    opened.keyboard.press("n")
    expect(opened).not_to_have_url(re.compile(rf"/image/{image}\b"))
    said = told(opened, f"/images/{image}")["readings"]
    assert [one["verdict"] for one in said if not one["undone"]] == ["reject", "unsure"]


def test_a_later_word_takes_the_place_of_one_that_was_not_saved(opened):
    opened.route(READING, lambda route: route.abort())
    image = first_image(opened)
    before = len(told(opened, f"/images/{image}")["readings"])
    opened.keyboard.press("r")
    expect(opened.locator("#unsent")).to_contain_text("Not saved")
    opened.unroute(READING)
    opened.keyboard.press("u")
    expect(opened.locator("#unsent")).to_be_empty()
    said = told(opened, f"/images/{image}")["readings"][before:]
    assert [one["verdict"] for one in said] == ["unsure"]


def test_results_for_a_pacs_are_offered_of_a_dicom_file_alone(opened):
    image = first_image(opened)
    offered = opened.get_by_role("button", name="DICOM results")
    expect(offered).to_have_count(0)
    detail = {**told(opened, f"/images/{image}"), "dicom": True}
    opened.route(f"**/api/v1/images/{image}?*", lambda route: route.fulfill(json=detail))
    opened.reload()
    expect(offered).to_be_visible()


def test_a_note_with_markup_is_shown_as_text(opened):
    image = first_image(opened)
    opened.keyboard.press("e")
    dialog = opened.get_by_role("dialog")
    dialog.get_by_text("Unsure").click()
    dialog.get_by_label("Note").fill("<img src=x onerror=alert(1)> a r z")
    dialog.get_by_role("button", name="Save").click()
    expect(opened.locator(".verdicts").first).to_contain_text("<img src=x onerror=alert(1)> a r z")
    assert opened.locator(".verdicts img").count() == 0
    assert told(opened, f"/images/{image}")["readings"][-1]["verdict"] == "unsure"


def test_a_lost_server_is_said_and_asked_again(opened):
    opened.route("**/api/v1/images?*", lambda route: route.abort())
    opened.get_by_label("Order").select_option("name")
    expect(opened.locator("#trouble")).to_contain_text("The server does not answer")
    opened.unroute("**/api/v1/images?*")
    opened.get_by_role("button", name="Try again").click()
    expect(opened.locator("#trouble")).to_be_empty()
    expect(opened.locator(".work .name a").first).to_have_text("000000.png")


def test_all_by_keyboard_with_the_focus_in_sight(opened):
    opened.goto("/?text=0000")
    opened.locator(".work .name a").first.wait_for()
    opened.keyboard.press("j")
    name = opened.evaluate("document.activeElement.textContent")
    outline = "getComputedStyle(document.activeElement, '::after').outlineStyle"
    assert opened.evaluate(outline) == "solid"
    opened.keyboard.press("Enter")
    expect(opened.locator("#name")).to_have_text(name)
    opened.locator(".finding").first.wait_for()
    opened.keyboard.press("2")
    expect(opened.locator(".finding").nth(1)).to_have_class("finding on")
    opened.keyboard.press("o")
    expect(opened.locator(".legend")).to_be_visible()
    opened.keyboard.press("u")
    expect(opened.locator("#state")).to_have_text("Unsure")
    opened.keyboard.press("z")
    opened.keyboard.press("?")
    expect(opened.get_by_role("dialog")).to_contain_text("accept the finding")
    opened.keyboard.press("a")  # nothing, behind the dialog
    opened.keyboard.press("Escape")
    opened.keyboard.press("n")
    expect(opened.locator("#name")).to_have_text(re.compile(rf"^(?!{re.escape(name)}).+\.png$"))
    opened.keyboard.press("b")
    expect(opened).to_have_url(re.compile(r"/\?text=0000$"))


def test_colours_by_the_switch(opened, screen):
    page = "getComputedStyle(document.body).backgroundColor"
    system = opened.evaluate(page)
    other = "light" if screen.colours == "dark" else "dark"
    opened.get_by_label("Colours").select_option(other)
    assert opened.evaluate(page) != system
    opened.reload()
    assert opened.evaluate(page) != system
    opened.get_by_label("Colours").select_option("system")
    assert opened.evaluate(page) == system


def test_a_blinded_study(opened, screen):
    opened.goto("/studies")
    expect(opened.locator("#list")).to_have_attribute("aria-busy", "false")
    if not opened.locator("#new").evaluate("box => box.open"):
        opened.locator("#new summary").click()
    name = f"<b>{screen.width} {screen.colours}"
    opened.locator("#start [name=name]").fill(name)
    opened.locator("#start [name=images]").fill("2")
    opened.get_by_role("button", name="Start").click()
    card = opened.get_by_role("article", name=name)
    card.get_by_role("link", name="Read").click()
    helped = []
    for shown in range(4):
        expect(opened.locator("#position")).to_have_text(f"{shown + 1} of 4")
        opened.locator("#answers").wait_for()
        helped.append(opened.locator("[data-map]").count() > 0)
        opened.locator("#answers input").first.fill("70")
        opened.get_by_role("button", name="Save and next").click()
    assert sorted(helped) == [False, False, True, True]
    opened.get_by_role("link", name="Back to the studies").click()
    card = opened.get_by_role("article", name=name)
    expect(card).to_contain_text("Seconds an image")


def test_a_bomb_that_is_sent_to_the_interface_harms_nobody(opened, served):
    answer = opened.request.post(
        "/api/v1/predict",
        headers={"Authorization": f"Bearer {served.token}"},
        multipart={
            "files": {"name": "bomb.png", "mimeType": "image/png", "buffer": picture_bomb()}
        },
    )
    assert answer.status < 500
    if answer.ok:
        assert answer.json()[0]["error"]
    opened.reload()
    opened.locator(".work tbody tr").first.wait_for()
    assert told(opened, "/health")["status"] == "ok"


def test_a_file_that_is_gone_says_so_and_has_no_map(opened, served):
    """Also after the panel is drawn again, as when the page knows its model."""
    models = []
    opened.goto("/?text=000059")
    address = opened.locator(".work .name a").get_attribute("href")
    file = served.folder / "phantoms" / "images" / "000059.png"
    away = file.rename(file.with_suffix(".away"))
    try:
        opened.route("**/api/v1/models", lambda route: models.append(route))
        opened.goto(address)
        expect(opened.locator(".stage .said")).to_contain_text("000059.png: no such file")
        opened.keyboard.press("o")
        expect(opened.locator("#map-reason")).to_contain_text("There is no image")
        models.pop().continue_()
        expect(opened.get_by_role("heading", name="Readings Model")).to_be_visible()
        expect(opened.locator("#map-reason")).to_contain_text("There is no image")
        opened.keyboard.press("2")
        expect(opened.locator("#map-reason")).to_be_empty()
    finally:
        away.rename(file)
