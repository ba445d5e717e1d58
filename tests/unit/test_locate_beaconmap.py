"""A phone among fixed beacons: clones are found, doubt is told, a known beacon gives a place."""

import numpy as np
import pytest

from cloud.locate.beaconmap import OTHER_FLOOR, BeaconMap, HeardBeacon, Surveyed


def survey(beacon: str, x_m: float, y_m: float, floor: int = 0, radios: int = 1, n: int = 40) -> list[Surveyed[str]]:
    """Sightings within 5 m around a beacon, weaker with distance."""
    rng = np.random.default_rng(len(beacon) + int(x_m))
    about = rng.normal(0, 4, (n, 2))
    return [
        Surveyed(beacon, i % radios, -60 - 2 * float(np.hypot(*offset)), x_m + offset[0], y_m + offset[1], floor)
        for i, offset in enumerate(about)
    ]


@pytest.fixture
def beacons() -> BeaconMap[str]:
    cloned = [seen for x in range(0, 300, 20) for seen in survey("clone", x, 50, floor=x % 3, radios=1)]
    cloned = [Surveyed(s.id, i, s.rssi_dbm, s.x_m, s.y_m, s.floor) for i, s in enumerate(cloned)]
    return BeaconMap.learn(survey("a", 10, 10) + survey("b", 100, 10) + survey("up", 12, 10, floor=1) + cloned)


def test_an_id_that_many_radios_send_is_cloned_and_places_nobody(beacons: BeaconMap[str]) -> None:
    assert beacons.cloned == {"clone"}
    assert beacons.locate([HeardBeacon("clone", -60, 0)]) is None
    assert beacons.locate([HeardBeacon("never seen", -60, 0)]) is None
    assert beacons.locate([]) is None


def test_a_beacon_heard_now_places_the_phone_where_it_was_heard_before(beacons: BeaconMap[str]) -> None:
    place = beacons.locate([HeardBeacon("a", -62, 0), HeardBeacon("a", -64, 2)])
    assert place is not None
    assert np.hypot(place.x_m - 10, place.y_m - 10) < 4
    assert place.floor == 0
    assert place.error_m < 15


def test_what_was_heard_long_ago_weighs_less_than_what_is_heard_now(beacons: BeaconMap[str]) -> None:
    now, then = HeardBeacon("b", -62, 0), HeardBeacon("a", -62, 40)
    place = beacons.locate([then, now])
    assert place is not None and place.x_m > 80
    swapped = beacons.locate([HeardBeacon("a", -62, 0), HeardBeacon("b", -62, 40)])
    assert swapped is not None and swapped.x_m < 30


def test_beacons_that_contradict_each_other_make_the_doubt_larger(beacons: BeaconMap[str]) -> None:
    agreed = beacons.locate([HeardBeacon("a", -62, 0)])
    torn = beacons.locate([HeardBeacon("a", -62, 0), HeardBeacon("b", -62, 0)])
    floors = beacons.locate([HeardBeacon("a", -62, 0), HeardBeacon("up", -62, 0)])
    assert agreed is not None and torn is not None and floors is not None
    assert torn.error_m > 2 * agreed.error_m
    assert floors.error_m > 2 * agreed.error_m, "two floors are equally likely: a wrong one would cost the way upstairs"
    assert 0 < OTHER_FLOOR < 1


def test_one_beacon_heard_often_does_not_outvote_two_others(beacons: BeaconMap[str]) -> None:
    often = [HeardBeacon("b", -66, 1)] * 30
    place = beacons.locate([*often, HeardBeacon("a", -62, 0), HeardBeacon("up", -62, 0)])
    assert place is not None and place.x_m < 40
