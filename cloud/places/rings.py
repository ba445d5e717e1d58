"""Rings around a store, from ten kilometres to one metre: how near somebody is decides what may be said, and by what.

A nearer ring lies within a farther one; the nearest that holds speaks, and each only for its own purposes, through its
own channels, within its own caps. What is not named is not allowed.
"""

from collections.abc import Iterable

from cloud.places.models import Cap, Channel, Plan, Purpose, Ring, RingName, Zone

WEEK_H = 168.0
DAY_H = 24.0

# From far to near. Caps of the gate apply beside these; a ring can only be stricter.
USUAL: tuple[Ring, ...] = (
    Ring(ring="city", radius_m=10_000, purposes=["promo"], channels=["app", "web-push", "e-mail", "messenger"],
         caps=[Cap(most=1, hours=WEEK_H)]),
    Ring(ring="neighbourhood", radius_m=1_000, purposes=["promo"], channels=["app", "web-push"],
         caps=[Cap(most=1, hours=WEEK_H)]),
    # A passer-by is asked in once a week.
    Ring(ring="street", radius_m=50, purposes=["proximity"], channels=["app", "web-push", "screen"],
         caps=[Cap(most=1, hours=WEEK_H)]),
    Ring(ring="store", radius_m=30, purposes=["proximity", "service", "survey"],
         channels=["app", "web-push", "screen"], caps=[Cap(most=1, hours=DAY_H), Cap(most=2, hours=WEEK_H)]),
    Ring(ring="zone", radius_m=7.5, purposes=["proximity", "service"], channels=["app", "web-push", "screen"],
         caps=[Cap(most=1, hours=DAY_H), Cap(most=2, hours=WEEK_H)]),
    Ring(ring="shelf", radius_m=1, purposes=["proximity", "service"], channels=["app", "web-push", "screen"],
         caps=[Cap(most=1, hours=4)]),
)  # fmt: skip

ORDER: dict[RingName, int] = {ring.ring: i for i, ring in enumerate(USUAL)}
"""Higher is nearer."""

OF_ZONE: dict[str, RingName] = {"street": "street", "shelf": "shelf"}
"""By the zone's kind; every other kind is a zone's own ring."""


def rings(plan: Plan) -> list[Ring]:
    """The store's rings from far to near: the usual ones, with the plan's own in their place."""
    own = {ring.ring: ring for ring in plan.rings}
    return [own.get(ring.ring, ring) for ring in USUAL]


def nearest(plan: Plan, apart_m: float | None, zones: Iterable[Zone] = (), *, inside: bool = False) -> Ring | None:
    """The nearest ring that holds somebody, None for one beyond all.

    `apart_m` is the distance to the store's location, None where it is not known; `zones` are those the person is in;
    `inside` says that a visit to the store goes on.
    """
    told = rings(plan)
    within = [ring for ring in told[:3] if apart_m is not None and apart_m <= ring.radius_m]
    within += [told[ORDER["store"]]] if inside else []
    within += [told[ORDER[OF_ZONE.get(zone.kind, "zone")]] for zone in zones]
    return max(within, key=lambda ring: ORDER[ring.ring], default=None)


def permits(ring: Ring, purpose: Purpose, channel: Channel, hours_since: Iterable[float] = ()) -> bool:
    """Whether a ring lets a message out: its purpose, its channel, and the contacts made in this ring so far."""
    if purpose not in ring.purposes or channel not in ring.channels:
        return False
    made = list(hours_since)
    return all(sum(hours < cap.hours for hours in made) < cap.most for cap in ring.caps)
