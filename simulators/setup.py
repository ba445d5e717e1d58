"""What the product is told before a run: store, survey, members and the demo's campaign, as the API takes them."""

from datetime import date
from typing import Any

import numpy as np

from simulators.radio import RadioModel
from simulators.scenario import Scenario
from simulators.truth import Trigger, triggers
from simulators.world import World, card, staff_card
from simulators.zones import Floats, inside

Document = dict[str, Any]

SURVEY_STEP_M = 1.0
OUTSIDE_WEIGHT = 4.0
HYSTERESIS_DB = 6.0
_GIVEN = "Ada Ben Clara David Emma Finn Greta Hugo Ida Jonas Klara Leo Mia Noah Olga Paul Rosa Simon Tilda Vera".split()
_FAMILY = (
    "Adler Berg Conrad Dorn Engel Fuchs Graf Hahn Iven Jansen Keller Lang Meier Nolte Otto Peters Roth Sommer".split()
)


def store_document(scenario: Scenario) -> Document:
    """The body of PUT /v1/stores/{store}."""
    store = scenario.store
    return {
        "name": store.name,
        "tz": store.tz,
        "opens": store.opens,
        "closes": store.closes,
        "demo": True,
        "floors": [
            {
                "floor": store.floor,
                "name": store.floor_name,
                "width_m": store.width_m,
                "depth_m": store.depth_m,
                "cell_m": store.cell_m,
            }
        ],
        "zones": [
            {
                "zone": zone.zone,
                "name": zone.name,
                "kind": zone.kind,
                "floor": store.floor,
                "polygon": [list(corner) for corner in zone.polygon],
                "categories": list(zone.categories),
            }
            for zone in scenario.zones
        ],
        "nodes": [
            {
                "node": node.node,
                "floor": store.floor,
                "x_m": node.x_m,
                "y_m": node.y_m,
                "z_m": node.z_m,
                "zone": node.zone,
            }
            for node in scenario.nodes
        ],
        "beacons": [
            {
                "uuid": beacon.uuid,
                "major": beacon.major,
                "minor": beacon.minor,
                "role": beacon.role,
                "label": beacon.label,
                "floor": store.floor,
                "x_m": beacon.x_m,
                "y_m": beacon.y_m,
            }
            for beacon in scenario.beacons
        ],
    }


def survey_document(scenario: Scenario, seed: int) -> Document:
    """The body of PUT /v1/stores/{store}/floors/{floor}/survey: a technician's walk over the floor, every metre."""
    store = scenario.store
    x, y = np.meshgrid(
        np.arange(SURVEY_STEP_M / 2, store.width_m, SURVEY_STEP_M),
        np.arange(SURVEY_STEP_M / 2, store.depth_m, SURVEY_STEP_M),
    )
    points = RadioModel(scenario, seed).survey(
        np.column_stack([x.ravel(), y.ravel()]), np.random.default_rng([seed, 1])
    )
    fields = ("x_m", "y_m", "node", "mean_dbm", "sd_db", "n")
    return {"points": [{field: getattr(point, field) for field in fields} for point in points]}


def presence_levels(scenario: Scenario, seed: int) -> dict[str, tuple[float, float]]:
    """(enter, exit) in dBm for each node with a zone, as a technician reads them off the survey.

    Enter is the level that most places in the zone reach and hardly any outside: a place outside weighs like
    `OUTSIDE_WEIGHT` inside, for an offer that comes too early annoys more than one that comes by way of the fusion.
    """
    model = RadioModel(scenario, seed)
    points = model.survey(_survey_places(scenario), np.random.default_rng([seed, 1]))
    levels = {}
    for node in scenario.nodes:
        if node.zone is None:
            continue
        heard = [point for point in points if point.node == node.node]
        x, y, dbm = (np.array([getattr(point, key) for point in heard]) for key in ("x_m", "y_m", "mean_dbm"))
        within = inside(scenario.zone(node.zone).polygon, x, y)
        candidates = np.arange(-80.0, -54.0, 0.5)
        score = [(dbm[within] >= at).mean() - OUTSIDE_WEIGHT * (dbm[~within] >= at).mean() for at in candidates]
        enter = float(candidates[int(np.argmax(score))])
        levels[node.node] = enter, enter - HYSTERESIS_DB
    return levels


def consents(scenario: Scenario, seed: int, member: int) -> dict[str, bool]:
    """What a member of the pool agreed to, by purpose."""
    sensing, push, profiling = np.random.default_rng([seed, 2, member]).random(3)
    people = scenario.people
    return {
        "in_store_sensing": bool(sensing < people.sensing_consent_share),
        "marketing_push": bool(push < people.push_consent_share),
        "profiling": bool(profiling < people.profiling_consent_share),
    }


def members_document(scenario: Scenario, seed: int) -> Document:
    """The body of POST /v1/members/import: the whole pool, and the staff, who are told apart by their tags only."""
    rng = np.random.default_rng([seed, 3])
    given, family = (rng.integers(len(names), size=scenario.people.member_pool) for names in (_GIVEN, _FAMILY))
    members: list[Document] = [
        {
            "card": card(member),
            "name": f"{_GIVEN[given[member]]} {_FAMILY[family[member]]}",
            "traits": {},
            "consents": consents(scenario, seed, member),
        }
        for member in range(scenario.people.member_pool)
    ]
    agreed = {"in_store_sensing": True, "marketing_push": False, "profiling": False}
    members += [
        {"card": staff_card(index), "name": f"Staff {index + 1}", "traits": {}, "consents": agreed, "staff": True}
        for index in range(scenario.people.staff)
    ]
    return {"members": members}


def segment_document() -> Document:
    """The body of POST /v1/segments: everyone."""
    return {"segment": "everyone", "name": "Everyone", "condition": {"all": []}}


def offer_document(scenario: Scenario) -> Document:
    """The body of POST /v1/offers."""
    campaign = scenario.campaign
    return {
        "offer": campaign.offer,
        "name": campaign.offer_name,
        "title": campaign.title,
        "body": campaign.body,
        "category": campaign.category,
        "discount_bp": campaign.discount_bp,
        "ttl_s": campaign.ttl_s,
    }


def campaign_document(scenario: Scenario) -> Document:
    """The body of POST /v1/campaigns; to be started afterwards."""
    campaign = scenario.campaign
    return {
        "campaign": campaign.campaign,
        "name": campaign.name,
        "store": scenario.store.store,
        "zone": campaign.zone,
        "dwell_s": campaign.dwell_s,
        "segment": "everyone",
        "offer": campaign.offer,
        "control_share": campaign.control_share,
    }


def reachable(world: World, day: date) -> list[Trigger]:
    """The day's triggers whose offer could be shown: a member who consents to both and has the app along."""
    people = world.day(day)
    found = []
    for trigger in triggers(people, people.intervals(), world.scenario.campaign):
        person = people.people[trigger.person]
        if person.app and person.member is not None:
            agreed = consents(world.scenario, world.seed, person.member)
            if agreed["in_store_sensing"] and agreed["marketing_push"]:
                found.append(trigger)
    return found


def busiest_start_us(world: World, day: date, after: str = "10:00", before: str = "11:30", span_s: int = 120) -> int:
    """The minute between two times of day from which on `span_s` seconds hold most reachable triggers.

    A short live run is to show something; only triggers whose dwell begins after the start count.
    """
    starts = np.arange(world.scenario.instant_us(day, after), world.scenario.instant_us(day, before), 60_000_000)
    found = reachable(world, day)
    entered = np.array([trigger.entered_us for trigger in found], np.int64)
    at = np.array([trigger.at_us for trigger in found], np.int64)
    counts = [int(((entered > start + 5_000_000) & (at < start + span_s * 1_000_000)).sum()) for start in starts]
    return int(starts[int(np.argmax(counts))])


def _survey_places(scenario: Scenario) -> Floats:
    steps = (
        np.arange(SURVEY_STEP_M / 2, size, SURVEY_STEP_M) for size in (scenario.store.width_m, scenario.store.depth_m)
    )
    x, y = np.meshgrid(*steps)
    return np.column_stack([x.ravel(), y.ravel()])
