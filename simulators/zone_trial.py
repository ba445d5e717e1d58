"""A trial of zones: shoppers with a tag in one store, what its nodes hear of them, and where they truly were.

24 × 18 m, 12 zones of 6 × 6 m side by side, 8 nodes under the ceiling. The radio is meant to differ from what the
locator assumes: path loss with two slopes instead of one, shadowing of Gaussian covariance instead of an exponential
one, fading by Rayleigh (skewed, in dB) instead of Student's t, a body whose bearing nobody tells. Standing shoppers
face any side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WIDTH_M, DEPTH_M = 24.0, 18.0
ZONE_M = 6.0
ACROSS, DEEP = 4, 3
NODES = np.array([(4, 3), (12, 3), (20, 3), (8, 9), (16, 9), (4, 15), (12, 15), (20, 15)], float)
"""Three, two and three in a row, as an electrician hangs them."""
NODE_Z_M, TAG_Z_M = 2.6, 1.1
WALKERS = 6
WALK_S = 900

# Radio. RSSI at 1 m of twelve Raspberry Pi receivers: -61 dBm on average (Danis et al. 2022), 2 dB apart. The slopes
# are those of a two-ray law: nearly free space until the floor's reflection, steeper behind.
AT_1M_DBM, AT_1M_SD_DB = -61.0, 2.0
NEAR_EXPONENT, FAR_EXPONENT, KNEE_M = 1.7, 2.8, 6.0
SHADOW_SD_DB, SHADOW_LENGTH_M = 4.0, 2.0  # correlation falls to 1/e over this length
BODY_DB = 7.0  # between front and back
FADING_SD_DB = 5.4
RAYLEIGH_SD_DB, RAYLEIGH_MEAN_DB = 5.570, -2.507  # of an exponentially distributed power, in dB
DEVICE_SD_DB = 2.0  # tags of one make differ so much in what they send
LOSS, LOSS_PER_M = 0.15, 0.004
FLOOR_DBM = -98.0
WAVES = 256

# People: a supermarket trip of 11 minutes sees 5 zones (covid19-supermarket-abm: 10.9 minutes, 5.2 zones), so a zone's
# visit is some stops of together about a minute and a half.
STOPS_A_ZONE = 4.0  # mean of a geometric number
STOP_S, STOP_LOG_SD = 14.0, 0.8  # median and spread of one stop
SPEED_M_S, SPEED_SD = 0.9, 0.2
MARGIN_M = 0.7  # who stands at a fixture stands so far inside its zone: borders run along the aisles
NEARNESS_M = 6.0  # zones are chosen with a weight that falls to 1/e over this way

SURVEY_STEP_M = 1.0
SURVEY_ADVERTS = 3  # heard in each of four directions


@dataclass(frozen=True, slots=True)
class Survey:
    """What a technician collected: places (P, 2), and mean, sd, packets (P, N); nan where nothing was heard."""

    points: Floats
    mean_dbm: Floats
    sd_db: Floats
    packets: Floats


@dataclass(frozen=True, slots=True)
class Trial:
    """One seed: true places (T, W, 2) at the end of each second, and RSSI (T, W, N) of its advert, nan where lost."""

    survey: Survey
    places: Floats
    rssi_dbm: Floats

    @property
    def zones(self) -> npt.NDArray[np.int64]:
        """(T, W): the zone in which each walker truly was."""
        return zone_of(self.places)


def zone_of(places: Floats) -> npt.NDArray[np.int64]:
    """Index of the zone of each place (…, 2), row by row from the origin."""
    column = np.clip(places[..., 0] // ZONE_M, 0, ACROSS - 1)
    row = np.clip(places[..., 1] // ZONE_M, 0, DEEP - 1)
    return (row * ACROSS + column).astype(np.int64)


def zone_polygons() -> list[list[tuple[float, float]]]:
    """Corners of the zones in the order of their index."""
    low = [(column * ZONE_M, row * ZONE_M) for row in range(DEEP) for column in range(ACROSS)]
    return [[(x, y), (x + ZONE_M, y), (x + ZONE_M, y + ZONE_M), (x, y + ZONE_M)] for x, y in low]


def node_positions() -> Floats:
    """(N, 3) metres."""
    return np.column_stack([NODES, np.full(len(NODES), NODE_Z_M)])


def trial(seed: int) -> Trial:
    """The same seed gives the same trial."""
    rng = np.random.default_rng([seed, 0x5A])
    radio = Radio(rng)
    survey = radio.survey(rng)
    walks = [walk(rng) for _ in range(WALKERS)]
    tx_db = rng.normal(0, DEVICE_SD_DB, WALKERS)
    places = np.stack([places for places, _ in walks], axis=1)
    rssi = np.stack([radio.hear(p, h, tx, rng) for (p, h), tx in zip(walks, tx_db, strict=True)], axis=1)
    return Trial(survey, places, rssi)


class Radio:
    """What the nodes hear, drawn once a seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        nodes = len(NODES)
        self._at_1m = AT_1M_DBM + rng.normal(0, AT_1M_SD_DB, nodes)
        # Random Fourier features: waves that are normal in the plane make a Gaussian covariance exp(-(d / length)²).
        self._waves = rng.normal(0, np.sqrt(2) / SHADOW_LENGTH_M, (nodes, 2, WAVES))
        self._phases = rng.uniform(0, 2 * np.pi, (nodes, WAVES))

    def hear(self, places: Floats, heading: Floats, tx_db: float, rng: np.random.Generator) -> Floats:
        """An advert from each place (Q, 2) by a body that looks `heading` (Q,) radians: (Q, N) dBm, nan where lost."""
        away = NODES[None] - places[:, None]
        flat = np.hypot(away[..., 0], away[..., 1])
        distance = np.hypot(flat, NODE_Z_M - TAG_Z_M)
        near, far = np.minimum(distance, KNEE_M), np.maximum(distance / KNEE_M, 1.0)
        rssi = self._at_1m - 10 * NEAR_EXPONENT * np.log10(near) - 10 * FAR_EXPONENT * np.log10(far)
        rssi += self._shadow(places)
        facing = away[..., 0] * np.cos(heading)[:, None] + away[..., 1] * np.sin(heading)[:, None]
        rssi += tx_db + BODY_DB / 2 * facing / np.maximum(flat, 0.1)
        fading = 10 * np.log10(rng.exponential(1.0, rssi.shape)) - RAYLEIGH_MEAN_DB
        rssi = np.round(rssi + fading * FADING_SD_DB / RAYLEIGH_SD_DB)
        lost = (rng.random(rssi.shape) < LOSS + LOSS_PER_M * distance) | (rssi < FLOOR_DBM)
        return np.where(lost, np.nan, rssi)

    def survey(self, rng: np.random.Generator) -> Survey:
        """A technician stands at every crossing of a lattice, turns to four sides, and waits for some adverts."""
        x, y = (np.arange(SURVEY_STEP_M / 2, side, SURVEY_STEP_M) for side in (WIDTH_M, DEPTH_M))
        points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        adverts = 4 * SURVEY_ADVERTS
        heading = np.tile(np.repeat(np.arange(4) * np.pi / 2, SURVEY_ADVERTS), len(points))
        levels = self.hear(np.repeat(points, adverts, axis=0), heading, 0.0, rng).reshape(len(points), adverts, -1)
        packets = np.isfinite(levels).sum(axis=1)
        mean = np.where(packets > 0, np.nansum(levels, axis=1) / np.maximum(packets, 1), np.nan)
        variance = np.nansum((levels - mean[:, None]) ** 2, axis=1) / np.maximum(packets - 1, 1)
        return Survey(points, mean, np.where(packets > 1, np.sqrt(variance), np.nan), packets.astype(float))

    def _shadow(self, places: Floats) -> Floats:
        scale = SHADOW_SD_DB * np.sqrt(2 / WAVES)
        fields = [np.cos(places @ w + p).sum(axis=1) for w, p in zip(self._waves, self._phases, strict=True)]
        shadow: Floats = scale * np.stack(fields, axis=1)
        return shadow


def walk(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Places (T, 2) and headings (T,) of one shopper, a second apart, from the door in the middle of the front."""
    place = np.array([WIDTH_M / 2, 0.5])
    zone = int(zone_of(place))
    speed = float(np.clip(rng.normal(SPEED_M_S, SPEED_SD), 0.4, 1.4))
    places: list[Floats] = []
    headings: list[float] = []
    while len(places) < WALK_S:
        for _ in range(rng.geometric(1 / STOPS_A_ZONE)):
            target = _spot(zone, rng)
            way = target - place
            steps = max(1, int(np.ceil(np.hypot(*way) / speed)))
            bearing = float(np.arctan2(way[1], way[0]))
            places += [place + way * k / steps for k in range(1, steps + 1)]
            headings += [bearing] * steps
            stop = max(1, int(rng.lognormal(np.log(STOP_S), STOP_LOG_SD)))
            places += [target] * stop
            headings += [float(rng.uniform(0, 2 * np.pi))] * stop
            place = target
        zone = _next_zone(zone, rng)
    return np.array(places[:WALK_S]), np.array(headings[:WALK_S])


def _spot(zone: int, rng: np.random.Generator) -> Floats:
    corner = np.array([zone % ACROSS, zone // ACROSS]) * ZONE_M
    spot: Floats = corner + rng.uniform(MARGIN_M, ZONE_M - MARGIN_M, 2)
    return spot


def _next_zone(zone: int, rng: np.random.Generator) -> int:
    centres = np.array([polygon[0] for polygon in zone_polygons()])
    weight = np.exp(-np.hypot(*(centres - centres[zone]).T) / NEARNESS_M)
    weight[zone] = 0.0
    return int(rng.choice(len(centres), p=weight / weight.sum()))
