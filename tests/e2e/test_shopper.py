"""A shopper through the whole product: adverts of a tag, an offer on the phone, a receipt, a consent taken back."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from cli.stack.broker import mosquitto_program
from cli.stack.cloud import LocalCloud
from cli.stack.local_air import LocalAir
from cli.stack.scratch import ask, scratch_cloud, staff, start_node, write_node
from cloud.offers.gate import HOLDOUT_SALT, UNIVERSAL_HOLDOUT, share_of
from contract.clock import SimulatedClock
from tests.e2e import store_floor
from tests.e2e.store_floor import AT_COFFEE, AT_TILL, DOOR, EVERY_S, NODES, STORE, TENANT, TZ, Floor

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium at /usr/bin/chromium: apt install chromium"),
    pytest.mark.skipif(mosquitto_program() is None, reason="no mosquitto: apt-get install mosquitto"),
    pytest.mark.timeout(240),
]

TITLE = "20 % off your coffee"
SENSING = "Recognise my phone or tag in the store"
OFFERS = "Send me offers"
DWELL_S = 4
CONTROL_SHARE = 0.05
PATIENCE_S = 30
"""How long a busy machine may take for what usually takes one or two seconds."""


@dataclass(frozen=True)
class Member:
    """What a member holds in hand."""

    member_id: UUID
    card: str
    code: str
    token_key: bytes


@dataclass
class Store:
    """The running product, seen from outside."""

    cloud: LocalCloud
    clock: SimulatedClock
    floor: Floor
    admin: httpx.Client
    till: httpx.Client
    members: list[Member]
    """In the campaign's target arm, consenting to everything."""
    complaints: list[str] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        return dict(ask(self.admin, "GET", "/v1/campaigns/coffee/result"))

    def visits_of(self, member: Member) -> list[dict[str, Any]]:
        everybody = ask(self.admin, "GET", f"/v1/stores/{STORE}/visits")
        return [visit for visit in everybody if visit["member"].endswith(member.card[-4:])]

    def open(self, context: BrowserContext, path: str) -> Page:
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.cloud.url + path)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        # A first look whether somebody is logged in is answered 401, and the browser logs every such answer.
        where = urlsplit(message.location["url"]).path
        first_look = where in ("/v1/session", "/app/v1/me") and "401" in message.text
        if message.type in ("error", "warning") and not first_look:
            self.complaints.append(f"{where}: {message.text}")


def until(true: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    """Waits for a condition outside the pages."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def store() -> Iterator[Store]:
    """The whole product, a surveyed store with three nodes and a campaign, on a Tuesday at eleven."""
    eleven = datetime(2026, 11, 24, 11, 0, 10, tzinfo=ZoneInfo(TZ)).astimezone(UTC)
    clock = SimulatedClock(int(eleven.timestamp() * 1e6), time.time_ns() // 1_000)
    floor = Floor(clock)
    nodes = store_floor.addresses()
    with (
        scratch_cloud("shopper", TENANT, nodes, clock=clock.spec()) as cloud,
        staff(cloud) as admin,
        LocalAir(NODES, floor.speak, EVERY_S) as air,
    ):
        till = set_up(admin)
        members = admitted(cloud, admin)
        for node in nodes:
            write_node(cloud, node, zone=NODES[node.node][1], clock=clock.spec())
            start_node(cloud, node, air.port)
        bearer = {"Authorization": f"Bearer {till}"}
        with httpx.Client(base_url=cloud.url, headers=bearer, timeout=30, trust_env=False) as machine:
            store = Store(cloud, clock, floor, admin, machine, members)
            until(lambda: online(store) == len(NODES), "all nodes are online")
            yield store
    assert store.complaints == [], "a page complained, or broke its Content-Security-Policy"


def online(store: Store) -> int:
    return int(ask(store.admin, "GET", f"/v1/stores/{STORE}/now")["nodes_online"])


def set_up(admin: httpx.Client) -> str:
    """Plan, survey and campaign; returns the till's key."""
    ask(admin, "PUT", f"/v1/stores/{STORE}", store_floor.plan())
    ask(admin, "PUT", f"/v1/stores/{STORE}/floors/0/survey", store_floor.survey())
    ask(admin, "POST", "/v1/segments", {"segment": "everyone", "name": "Everyone", "condition": {"all": []}})
    offer = {"offer": "coffee-20", "name": "Coffee", "title": TITLE, "body": "At the till today.", "category": "coffee"}
    ask(admin, "POST", "/v1/offers", offer | {"discount_bp": 2000, "ttl_s": 600})
    rule = {"store": STORE, "zone": "coffee", "dwell_s": DWELL_S, "segment": "everyone", "offer": "coffee-20"}
    campaign = {"campaign": "coffee", "name": "Coffee corner", "control_share": CONTROL_SHARE}
    ask(admin, "POST", "/v1/campaigns", campaign | rule)
    ask(admin, "POST", "/v1/campaigns/coffee/start")
    return str(ask(admin, "POST", "/v1/api-keys", {"role": "till", "label": "till 1", "store": STORE})["key"])


def admitted(cloud: LocalCloud, admin: httpx.Client) -> list[Member]:
    """Members who are in neither the holdout nor the campaign's control group: who is, is drawn by their ids."""
    agreed = {"in_store_sensing": True, "marketing_push": True, "profiling": True}
    cards = [{"card": f"40001234{n:08d}", "name": f"Member {n}", "consents": agreed} for n in range(20)]
    made = ask(admin, "POST", "/v1/members/import", {"members": cards})["members"]
    with psycopg.connect(cloud.postgres.dsn("postgres")) as conn:
        row = conn.execute("SELECT salt FROM campaign WHERE campaign = 'coffee'").fetchone()
    assert row is not None
    return [
        Member(UUID(one["member_id"]), one["card"], one["activation_code"], bytes.fromhex(one["token_key_hex"]))
        for one in made
        if share_of(HOLDOUT_SALT, UUID(one["member_id"])) >= UNIVERSAL_HOLDOUT
        and share_of(row[0], UUID(one["member_id"])) >= CONTROL_SHARE
    ]


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context
    context.close()


@pytest.fixture
def desk(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context
    context.close()


def test_from_a_tag_to_an_offer_to_a_receipt_until_consent_is_revoked(
    store: Store, phone: BrowserContext, desk: BrowserContext
) -> None:
    expect.set_options(timeout=PATIENCE_S * 1000)
    anna, ben, *_ = store.members
    app = sign_in(store, phone, anna)
    at_anna = store.floor.admit(anna.token_key)

    # She dwells at the coffee shelf, and the page that is open shows the offer.
    store.floor.walk(at_anna, AT_COFFEE)
    offer = app.locator("li.offer")
    expect(offer.get_by_role("heading", name=TITLE)).to_be_visible()
    assert app.evaluate("window.opened") == "once", "the page was loaded anew"
    until(lambda: store.result()["shown"] == 1, "the app reported that it was seen")

    # She buys coffee with the coupon; the console shows the receipt at her visit.
    coupon = offer.locator("code").inner_text()
    store.floor.walk(at_anna, AT_TILL)
    until(lambda: store.floor.at_goal(at_anna), "she is at the till")
    assert ask(store.till, "POST", "/v1/receipts", receipt(store, anna, coupon)) == {"stored": 1, "duplicates": 0}
    until(lambda: joined(store) == "joined", "the receipt is joined")
    console = log_in(store, desk, f"/console/#/{STORE}/visits")
    visit = console.locator(".visit")
    expect(visit).to_contain_text("€2.80")
    expect(visit).to_contain_text("card of the visiting member")
    expect(visit).to_contain_text(anna.card[-4:])
    expect(visit).to_contain_text("Coffee shelf")
    assert store.result()["used"] == 1

    # She ends being recognised: the visit is over, and at the same shelf only Ben is seen.
    allow(app, SENSING, False)
    until(lambda: all(visit["ended_us"] for visit in store.visits_of(anna)), "her visit is over")
    store.floor.walk(at_anna, AT_COFFEE)
    until(lambda: store.floor.at_goal(at_anna), "she is back at the shelf")
    at_ben = store.floor.admit(ben.token_key)
    store.floor.walk(at_ben, AT_COFFEE)
    until(lambda: store.result()["sent"] == 2, "Ben is sent his offer")
    assert len(store.visits_of(ben)) == 1
    assert len(store.visits_of(anna)) == 1

    # Recognised again but without offers, she comes anew: the dwell is seen, decided and refused.
    allow(app, OFFERS, False)
    store.floor.walk(at_anna, DOOR)
    until(lambda: store.floor.at_goal(at_anna), "she is at the door")
    allow(app, SENSING, True)
    until(lambda: len(store.visits_of(anna)) == 2, "she is recognised as a new visit")
    store.floor.walk(at_anna, AT_COFFEE)
    until(lambda: store.result()["refused"] == {"no consent": 1}, "her dwell was refused")
    console.goto(f"{store.cloud.url}/console/#/{STORE}/campaigns/coffee")
    expect(console.get_by_text("No consent to be messaged")).to_be_visible()
    app.get_by_role("button", name="Card").click()
    expect(app.locator("li.offer")).to_have_count(1)
    assert [one["coupon"] for one in phone.request.get(f"{store.cloud.url}/app/v1/offers").json()] == [coupon]


def sign_in(store: Store, phone: BrowserContext, member: Member) -> Page:
    """The member's page, signed in and listening."""
    page = store.open(phone, "/app/")
    page.get_by_label("Card number").fill(member.card)
    page.get_by_label("Activation code").fill(member.code)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_test_id("card")).to_have_text(" ".join(member.card[i : i + 4] for i in range(0, 16, 4)))
    expect(page.locator("header .pill")).to_have_text("Live")
    expect(page.get_by_text("No offer right now")).to_be_visible()
    page.evaluate("window.opened = 'once'")
    return page


def allow(app: Page, title: str, granted: bool) -> None:
    """Turn a switch of the privacy page."""
    app.get_by_role("button", name="Privacy").click()
    switch = app.get_by_role("switch", name=title)
    expect(switch).to_have_attribute("aria-checked", "false" if granted else "true")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true" if granted else "false")
    expect(app.locator(".said")).to_have_text(f"{title}: {'on' if granted else 'off'}. Saved.")


def log_in(store: Store, desk: BrowserContext, path: str) -> Page:
    """The console as an analyst sees it."""
    login = store.cloud.logins["analyst"]
    page = store.open(desk, path)
    page.get_by_label("Login").fill(login.login)
    page.get_by_label("Password").fill(login.password)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("main h1")).not_to_have_text("Log in")
    return page


def receipt(store: Store, member: Member, coupon: str) -> dict[str, object]:
    """One pack of coffee at 3.50 with 20 % off."""
    line = {"line_no": 1, "sku": "4006", "name": "Coffee 500 g", "category": "coffee", "qty": 1000}
    money = {"unit_price": 350, "discount": 70, "amount": 280}
    head = {"receipt_uid": "R1", "store": STORE, "till": "till-1", "at_us": store.clock.now_us(), "kind": "sale"}
    paid = {"currency": "EUR", "total": 280, "card": member.card, "coupon_codes": [coupon], "lines": [line | money]}
    return {"receipts": [head | paid]}


def joined(store: Store) -> str:
    return str(ask(store.admin, "GET", f"/v1/receipts?store={STORE}")[0]["join_state"])
