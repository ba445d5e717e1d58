"""The console and the member's page in a real browser, against a fake of the documented API."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.e2e.fake_api import CARD, CODE, LOGIN, WEB, Fake, running

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium at /usr/bin/chromium: apt install chromium")


@dataclass
class Visit:
    """A browser on the fake service, and what it complained about."""

    fake: Fake
    url: str
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Fragments of complaints that a test provokes."""

    def page(self, path: str) -> Page:
        page = self.context.new_page()
        page.on("console", self.note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url + path)
        return page

    def note(self, message: ConsoleMessage) -> None:
        # A first look whether somebody is logged in is answered 401, and the browser logs every such answer.
        where = urlsplit(message.location["url"]).path
        first_look = where in ("/v1/session", "/app/v1/me") and "401" in message.text
        if message.type in ("error", "warning") and not first_look:
            self.complaints.append(f"{where}: {message.text}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    fake = Fake()
    with running(fake) as url:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(10_000)
        visit = Visit(fake, url, context)
        yield visit
        context.close()
    left = [text for text in visit.complaints if not any(part in text for part in visit.expected)]
    assert left == [], "the page complained, or broke its Content-Security-Policy"


def until(true: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Waits for a condition outside the page's own elements."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def log_in(visit: Visit, path: str = "/console/") -> Page:
    page = visit.page(path)
    page.get_by_label("Login").fill(LOGIN["login"])
    page.get_by_label("Password").fill(LOGIN["password"])
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("main h1")).not_to_have_text("Log in")
    return page


def sign_in(visit: Visit) -> Page:
    page = visit.page("/app/")
    page.get_by_label("Card number").fill("4000 1234 1234 1234")
    page.get_by_label("Activation code").fill(CODE)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_test_id("card")).to_have_text("4000 1234 1234 1234")
    return page


def painted(page: Page) -> int:
    return int(page.evaluate("window.aisle?.paints ?? 0"))


def pixels(page: Page) -> str:
    """The heat layer as a data URL: equal pixels give equal text."""
    return str(page.evaluate("document.querySelector('canvas.heat').toDataURL()"))


def colours(page: Page) -> int:
    """How many different colours the heat layer shows."""
    return int(
        page.evaluate(
            """() => {
              const canvas = document.querySelector("canvas.heat");
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              return new Set(new Uint32Array(data.buffer)).size;
            }"""
        )
    )


def overflow(page: Page) -> int:
    """CSS pixels by which a page is wider than its screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


# The console


def test_a_wrong_password_is_told_in_words(visit: Visit) -> None:
    visit.expected = ["/v1/session: Failed to load resource"]
    page = visit.page("/console/")
    page.get_by_label("Login").fill("anna")
    page.get_by_label("Password").fill("guess")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("do not match")


def test_the_map_paints_presence_within_50_ms(visit: Visit) -> None:
    page = log_in(visit)
    until(lambda: painted(page) > 0, "a painted grid")
    assert colours(page) > 100
    first_paints_ms = [page.evaluate("window.aisle.paintMs")]
    # The best of three fresh loads: a busy machine adds to any one of them, and takes from none.
    for _ in range(2):
        page.reload()
        until(lambda: painted(page) > 0, "a painted grid")
        first_paints_ms.append(page.evaluate("window.aisle.paintMs"))
    assert min(first_paints_ms) <= 50
    expect(page.get_by_role("note")).to_contain_text("DEMO DATA")


def test_the_slider_shows_one_step_and_back(visit: Visit) -> None:
    page = log_in(visit)
    page.get_by_role("radio", name="Today").check()
    until(lambda: painted(page) > 0, "a painted grid")
    whole = pixels(page)
    slider = page.get_by_label("Time")
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("09:00–10:00"))
    until(lambda: pixels(page) != whole, "the first step's pixels")
    first = pixels(page)
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("11:00–12:00"))
    until(lambda: pixels(page) not in (whole, first), "another step's pixels")
    page.get_by_role("button", name="Whole period").click()
    expect(slider).to_have_attribute("aria-valuetext", re.compile("00:00–14:"))


def test_play_moves_through_the_steps(visit: Visit) -> None:
    page = log_in(visit)
    page.get_by_role("button", name="Play").click()
    slider = page.get_by_label("Time")
    expect(slider).to_have_value("0")
    expect(slider).to_have_value("2")
    page.get_by_role("button", name="Pause").click()


def test_live_counts_move_and_small_ones_are_hidden_with_the_reason(visit: Visit) -> None:
    page = log_in(visit)
    people = page.get_by_test_id("people")
    before = people.inner_text()
    until(lambda: people.inner_text() != before, "another count")
    entrance = page.get_by_role("button", name=re.compile("Entrance"))
    expect(entrance).to_contain_text("<5")
    expect(page.get_by_text("so that nobody can be singled out")).to_be_visible()


def test_everybody_is_estimated_with_an_interval_and_counted_heads_teach_it(visit: Visit) -> None:
    page = log_in(visit)
    crowd = page.get_by_role("region", name="Everybody, estimated")
    expect(crowd).to_contain_text("about 42 devices heard")
    expect(crowd).to_contain_text("33 to 53 in 80 of 100 cases")
    crowd.get_by_label("Count the heads").fill("58")
    crowd.get_by_role("button", name="Tell").click()
    expect(crowd).to_contain_text("about 42 people")
    assert visit.fake.heads == [58]


def test_a_period_with_too_few_visits_stays_blank_and_says_why(visit: Visit) -> None:
    visit.fake.empty = True
    page = log_in(visit)
    expect(page.get_by_text("Too few people to draw")).to_be_visible()
    assert colours(page) == 1


def test_a_map_says_whom_it_stands_for_and_can_be_taken_along(visit: Visit) -> None:
    page = log_in(visit)
    expect(page.get_by_text("Recognised: 34% of shoppers (30% to 38%). Each stands for 2.9.")).to_be_visible()
    page.get_by_role("radio", name="First stops").check()
    expect(page.get_by_role("figure")).to_contain_text("First stops, per m²")
    until(lambda: any("layer=stops" in one for one in visit.fake.asked), "the other layer was asked for")
    assert "layer=stops&format=csv" in str(page.get_by_role("link", name="CSV").get_attribute("href"))
    page.get_by_role("radio", name="Today").check()
    expect(page.get_by_text("Told up to")).to_be_visible()


def test_asset_tracks_are_drawn_with_their_last_place(visit: Visit) -> None:
    page = log_in(visit)
    track = page.locator(".track")
    expect(track.locator("text")).to_have_text("Trolley 7")
    expect(track.locator("circle.spread")).to_have_count(1)
    page.get_by_label("Asset tracks").uncheck()
    expect(track).to_have_count(0)


def test_zones_sort_by_any_column(visit: Visit) -> None:
    page = log_in(visit, "/console/#/north/zones")
    names = page.locator("tbody th")
    expect(names.first).to_have_text("Entrance")
    page.get_by_role("button", name="Conversion").click()
    expect(names.first).to_have_text("Tills")
    page.get_by_role("button", name="Conversion").click()
    expect(page.get_by_role("columnheader", name="Conversion")).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("tbody .few").first).to_have_attribute("title", re.compile("Fewer than 5"))


def test_visits_show_the_receipt_with_its_confidence_and_reason(visit: Visit) -> None:
    page = log_in(visit, "/console/#/north/visits")
    row = page.locator(".visit", has_text="€27.05")
    expect(row).to_contain_text("95% sure")
    expect(row).to_contain_text("card shown at the till")
    expect(page.locator(".visit").first).to_contain_text("In the store")


def test_a_campaign_leads_with_lift_and_says_that_it_is_uncertain(visit: Visit) -> None:
    page = log_in(visit, "/console/#/north/campaigns")
    page.get_by_role("link", name=re.compile("Face care")).click()
    expect(page.get_by_test_id("lift")).to_contain_text("+11.2")
    expect(page.get_by_text("95% interval −3.6 to +23.8")).to_be_visible()
    expect(page.get_by_text("The interval includes zero")).to_be_visible()
    expect(page.get_by_text("41 members qualified")).to_be_visible()
    expect(page.locator(".refusals")).to_contain_text("No consent to be messaged")
    expect(page.locator(".funnel canvas")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    until(lambda: "/v1/campaigns/face/stop?" in visit.fake.asked, "the campaign was stopped")


def test_nodes_show_health_backlog_and_dead_letters_by_reason(visit: Visit) -> None:
    page = log_in(visit, "/console/#/north/nodes")
    late = page.locator(".node-card", has_text="n5")
    expect(late).to_contain_text("Offline")
    expect(late).to_contain_text("214 waiting")
    expect(page.locator(".node-card", has_text="n6")).to_contain_text("No heartbeat yet")
    first = page.locator(".node-card", has_text="n1")
    expect(first.get_by_role("button", name="Get a code")).to_have_count(0)
    expect(first.locator(".sources")).to_contain_text("rfid.shelf")
    expect(first.locator(".sources")).to_contain_text("no such device")
    expect(page.locator(".node-card", has_text="n3")).to_contain_text("Safe mode")
    expect(page.locator(".node-card", has_text="n2")).to_contain_text("configuration 3, not 4")
    page.get_by_text("BadColumns").click()
    expect(page.get_by_text("38 bytes, 40 are expected").first).to_be_visible()


def test_a_technician_gets_the_code_that_makes_a_machine_a_node(visit: Visit) -> None:
    visit.fake.roles = ["technician"]
    first = log_in(visit, "/console/#/north/nodes").locator(".node-card", has_text="n1")
    first.get_by_role("button", name="Get a code").click()
    expect(first).to_contain_text("python -m edge claim ABCD-EFGH-JKMN-PQRS --api http")


EMPTY = [
    ("zones", "No visits in this period"),
    ("visits", "No visits yet"),
    ("campaigns", "No campaign yet"),
]


@pytest.mark.parametrize(("name", "title"), EMPTY)
def test_an_empty_page_says_what_is_missing(visit: Visit, name: str, title: str) -> None:
    visit.fake.empty = True
    page = log_in(visit, f"/console/#/north/{name}")
    expect(page.get_by_role("heading", name=title)).to_be_visible()


def test_a_store_without_a_plan_says_how_to_send_one(visit: Visit) -> None:
    visit.expected = ["/v1/stores/south/plan"]
    page = log_in(visit, "/console/#/south/map")
    expect(page.get_by_text("PUT /v1/stores/{store}")).to_be_visible()


def test_a_service_that_is_away_is_told_and_comes_back_by_itself(visit: Visit) -> None:
    visit.expected = ["503"]
    visit.fake.away = True
    page = visit.page("/console/")
    expect(page.get_by_role("heading", name="The service is away")).to_be_visible()
    visit.fake.away = False
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_an_ended_session_leads_back_to_the_login(visit: Visit) -> None:
    visit.expected = ["401"]
    page = log_in(visit)
    until(lambda: painted(page) > 0, "a painted grid")
    visit.context.clear_cookies()
    page.evaluate("location.hash = '#/north/visits'")
    expect(page.get_by_text("Your session has ended")).to_be_visible()


def test_signing_out_shows_the_login(visit: Visit) -> None:
    page = log_in(visit)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


@pytest.mark.parametrize("name", ["map", "zones", "visits", "campaigns", "campaigns/face", "nodes"])
def test_every_page_of_the_console_fits_a_small_phone(visit: Visit, name: str) -> None:
    page = log_in(visit, f"/console/#/north/{name}")
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator("[aria-busy]")).to_have_count(0)
    assert overflow(page) == 0


def test_the_theme_can_be_chosen_and_stays(visit: Visit) -> None:
    page = log_in(visit)
    until(lambda: painted(page) > 0, "a painted grid")
    light = pixels(page)
    page.get_by_role("button", name="Dark theme").click()
    until(lambda: pixels(page) != light, "dark colours on the map")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_map_is_usable_by_keyboard_alone(visit: Visit) -> None:
    page = log_in(visit)
    until(lambda: painted(page) > 0, "a painted grid")
    page.get_by_role("radio", name="Today").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Yesterday")).to_be_checked()
    page.get_by_role("button", name=re.compile("Cosmetics")).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".zone.chosen")).to_have_count(1)


# The member's page


def test_an_offer_that_arrives_appears_at_once_and_is_reported_shown(visit: Visit) -> None:
    page = sign_in(visit)
    expect(page.get_by_text("No offer right now")).to_be_visible()
    expect(page.get_by_text("Live")).to_be_visible()
    pushed = time.monotonic()
    visit.fake.push()
    until(lambda: ("p-1", "shown") in visit.fake.reports, "the offer was reported shown")
    assert time.monotonic() - pushed < 1
    expect(page.locator(".offer")).to_contain_text("10% off face care")
    expect(page.locator("[aria-live=polite]").first).to_have_text("New offer: 10% off face care")
    page.get_by_role("button", name="Show coupon").click()
    until(
        lambda: visit.fake.reports == [("p-1", "shown"), ("p-1", "clicked")], "shown and clicked were told, once each"
    )
    expect(page.get_by_role("img", name="Coupon FACE10-7K2M as a bar code")).to_be_visible()


def test_an_offer_is_not_reported_shown_until_somebody_can_see_it(visit: Visit) -> None:
    page = sign_in(visit)
    page.get_by_role("button", name="Privacy").click()
    expect(page.get_by_text("Live")).to_be_visible()
    visit.fake.push()
    expect(page.get_by_role("button", name="Look")).to_be_visible()
    assert visit.fake.reports == []
    page.get_by_role("button", name="Look").click()
    until(lambda: visit.fake.reports == [("p-1", "shown")], "the offer was reported shown")


def test_a_dismissed_offer_goes_to_the_inbox(visit: Visit) -> None:
    visit.fake.push()
    page = sign_in(visit)
    page.get_by_role("button", name="Not for me").click()
    expect(page.get_by_text("No offer right now")).to_be_visible()
    page.get_by_role("button", name="Inbox").click()
    expect(page.locator(".inbox li", has_text="face care")).to_contain_text("Not wanted")
    until(lambda: ("p-1", "dismissed") in visit.fake.reports, "the offer was reported dismissed")


def test_text_of_an_offer_is_never_markup(visit: Visit) -> None:
    visit.fake.push(title="<img src=x onerror=alert(1)>")
    page = sign_in(visit)
    expect(page.locator(".offer h3")).to_have_text("<img src=x onerror=alert(1)>")
    expect(page.locator(".offer img")).to_have_count(0)


def test_a_consent_switch_works_at_once(visit: Visit) -> None:
    page = sign_in(visit)
    page.get_by_role("button", name="Privacy").click()
    switch = page.get_by_role("switch", name="Notice me in the store")
    expect(switch).to_have_attribute("aria-checked", "true")
    switch.click()
    expect(page.get_by_text("Notice me in the store: off. Saved.")).to_be_visible()
    assert visit.fake.consents["in_store_sensing"] is False
    expect(switch).to_have_attribute("aria-checked", "false")


def test_a_consent_that_could_not_be_saved_goes_back(visit: Visit) -> None:
    visit.expected = ["500"]
    visit.fake.refuse_consents = True
    page = sign_in(visit)
    page.get_by_role("button", name="Privacy").click()
    switch = page.get_by_role("switch", name="Fit offers to what I buy")
    switch.click()
    expect(page.get_by_text("was not changed")).to_be_visible()
    expect(switch).to_have_attribute("aria-checked", "false")


def test_the_page_opens_offline_with_the_card_and_the_last_offers(visit: Visit) -> None:
    visit.expected = ["Failed to load resource", "ERR_INTERNET_DISCONNECTED", "net::"]
    visit.fake.push()
    page = sign_in(visit)
    expect(page.locator(".offer")).to_be_visible()
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    visit.context.set_offline(True)
    page.reload()
    expect(page.get_by_test_id("card")).to_have_text("4000 1234 1234 1234")
    expect(page.get_by_text("You are offline")).to_be_visible()
    expect(page.locator(".offer")).to_contain_text("10% off face care")
    visit.context.set_offline(False)
    expect(page.get_by_text("You are offline")).to_have_count(0)


def test_signing_out_leaves_nothing_of_the_member_on_the_phone(visit: Visit) -> None:
    visit.fake.push()
    page = sign_in(visit)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.get_by_role("button", name="Privacy").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    kept = page.evaluate("JSON.stringify(localStorage)")
    assert CARD not in kept
    cached = page.evaluate(
        """async () => {
          const caches_ = await Promise.all((await caches.keys()).map((name) => caches.open(name)));
          const requests = (await Promise.all(caches_.map((cache) => cache.keys()))).flat();
          return requests.map((request) => new URL(request.url).pathname);
        }"""
    )
    assert cached
    assert not [path for path in cached if path.startswith("/app/v1/")]


def test_the_offline_copy_holds_every_file_that_the_page_loads(visit: Visit) -> None:
    page = sign_in(visit)
    loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname)")
    shell = set(re.findall(r'"(/[^"]*)"', (WEB / "app" / "sw.js").read_text().split("const SHELL")[1].split("];")[0]))
    wanted = {path for path in loaded if not path.startswith("/app/v1/") and path != "/app/sw.js"}
    assert wanted - shell == set()
    missing = [
        path
        for path in shell
        if not path.startswith("/modules/") and path != "/app/" and not (WEB / path[1:]).is_file()
    ]
    assert missing == []


def test_the_page_can_be_installed(visit: Visit) -> None:
    page = sign_in(visit)
    manifest = page.evaluate("fetch('/app/manifest.webmanifest').then((answer) => answer.json())")
    assert manifest["display"] == "standalone"
    assert manifest["start_url"].startswith(manifest["scope"])
    for icon in manifest["icons"]:
        width = page.evaluate(
            """(src) => new Promise((done) => {
              const image = new Image();
              image.onload = () => done(image.naturalWidth);
              image.src = src;
            })""",
            icon["src"],
        )
        assert icon["sizes"] in ("any", f"{width}x{width}")


BARS = [
    # Start C, then pairs; check = (105 + 12*1 + 34*2 + 56*3) % 103 = 44
    ("123456", [105, 12, 34, 56, 44, 106]),
    # Set B alone: 104 + 48*1 + 42*2 + 42*3 + 17*4 + 18*5 + 19*6 + 35*7 = 879, % 103 = 55
    ("PJJ123C", [104, 48, 42, 42, 17, 18, 19, 35, 55, 106]),
    # Set B until an even run of at least four digits ends the text: 104 + 33 + 99*2 + 12*3 + 34*4 = 507, % 103 = 95
    ("A1234", [104, 33, 99, 12, 34, 95, 106]),
]


@pytest.mark.parametrize(("text", "values"), BARS)
def test_bar_codes_hold_the_known_symbols(visit: Visit, text: str, values: list[int]) -> None:
    page = visit.page("/app/")
    found = page.evaluate("(text) => import('/app/code128.js').then((code) => code.valuesOf(text))", text)
    assert found == values


def test_bar_codes_have_the_known_bars(visit: Visit) -> None:
    page = visit.page("/app/")
    widths = page.evaluate("() => import('/app/code128.js').then((code) => code.widthsOf('PJJ123C'))")
    # Start B, P, J, J, 1, 2, 3, C, check 55, stop, as printed in the standard's table.
    known = "211214 313121 112133 112133 123221 223211 221132 131321 311321 2331112"
    assert "".join(map(str, widths)) == known.replace(" ", "")


# Both


def luminance(colour: str) -> float:
    """Relative luminance of a #rrggbb colour (WCAG 2.2)."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


READ = [
    *[(ink, ground) for ink in ("ink", "muted", "accent") for ground in ("paper", "surface", "sunken", "accent-wash")],
    ("on-accent", "accent"), ("on-accent", "accent-strong"), ("accent-strong", "accent-wash"), ("track", "surface"),
    ("good", "good-wash"), ("warn", "warn-wash"), ("bad", "bad-wash"),
    ("good", "surface"), ("warn", "surface"), ("bad", "surface"), ("good", "paper"), ("bad", "paper"),
    ("ink", "warn-wash"), ("ink", "bad-wash"),
]  # fmt: skip


@pytest.mark.parametrize(("ink", "ground"), READ)
def test_text_keeps_a_contrast_of_4_5_in_both_themes(ink: str, ground: str) -> None:
    sheet = (WEB / "shared" / "tokens.css").read_text()
    pairs = {name: themes for name, *themes in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", sheet)}
    for text, behind in zip(pairs[ink], pairs[ground], strict=True):
        light, dark = sorted((luminance(text), luminance(behind)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("folder", ["console", "app"])
def test_import_maps_follow_the_one_table_of_modules(folder: str) -> None:
    found = re.search(r'<script type="importmap">(.*?)</script>', (WEB / folder / "index.html").read_text(), re.DOTALL)
    assert found
    table = json.loads((WEB / "modules.json").read_text())
    imports = json.loads(found[1])["imports"]
    assert imports == {name: table[name]["url"] for name in imports}
    assert all((WEB / entry["file"]).is_file() for entry in table.values())


def test_every_text_that_a_person_reads_stands_in_strings(visit: Visit) -> None:
    letters = re.compile(r">\s*[A-Z][a-z]+ [a-z]+[^<$`]*<")
    pages = [path for folder in ("console", "app", "shared") for path in (WEB / folder).glob("*.js")]
    assert [path.name for path in pages if letters.search(path.read_text())] == []
