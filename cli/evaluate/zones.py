"""Whether zones are told right: the production engine on simulated shoppers, beside the strongest receiver."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt

from cloud.locate.directory import Directory, Person
from cloud.locate.engine import Engine
from cloud.locate.radiomap import Grid, RadioMap
from cloud.locate.site import worn
from cloud.locate.story import Heard, Site, Story
from cloud.locate.zones import zone_masks
from contract.identity import SubjectKind, member_token, token_slot
from simulators import zone_trial
from simulators.zone_trial import Trial

Indices = npt.NDArray[np.int64]

CELL_M = 1.0
START_US = 1_790_000_100_000_000
SECOND_US = 1_000_000
DWELL_S = 20
NOWHERE = -1
STRONGEST_OVER_S = 5  # its medians


@dataclass(frozen=True, slots=True)
class ZoneFigures:
    """Of one run or the mean of several; every second of every walk counts, one told as unknown as not right."""

    zone_accuracy: float
    changes_ratio: float  # zones told after each other / true changes
    unknown_share: float
    trigger_precision: float  # of the dwell triggers, those whose dwell was truly spent in that zone, most of it
    trigger_recall: float  # of the true stays of the dwell and longer, those in which one was fired
    trigger_still_there: float  # of the dwell triggers, those fired before the shopper had left the zone


@dataclass(frozen=True, slots=True)
class ZonesReport:
    """Means over the seeds, the sd between them, and the plain method on the same walks."""

    zone_accuracy: float
    changes_ratio: float
    unknown_share: float
    trigger_precision: float
    trigger_recall: float
    trigger_still_there: float
    seeds: int
    spread: dict[str, float]
    baselines: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of the walkers: the zone of each second (T, W), and triggers as (second, walker, zone)."""

    zones: Indices
    triggers: list[tuple[int, int, int]]


def evaluate(seeds: int, first: int = 1) -> ZonesReport:
    """Run the seeds `first`, `first` + 1, …"""
    trials = [zone_trial.trial(first + k) for k in range(seeds)]
    fused = [figures(each, tell(each)) for each in trials]
    strongest = [figures(each, tell_strongest(each)) for each in trials]
    mean = _mean(fused)
    return ZonesReport(
        **mean,
        seeds=seeds,
        spread={name: float(np.std([getattr(f, name) for f in fused])) for name in mean},
        baselines={"strongest": _mean(strongest)},
    )


def site_of(trial: Trial) -> Site:
    """The store as the engine gets it: the map fitted to the survey, as the database's is."""
    grid = Grid.covering((0.0, 0.0), (zone_trial.WIDTH_M, zone_trial.DEPTH_M), CELL_M)
    survey = trial.survey
    fitted = RadioMap.from_survey(
        grid, zone_trial.node_positions(), survey.points, survey.mean_dbm, survey.sd_db, survey.packets
    )
    polygons = zone_trial.zone_polygons()
    names = tuple(f"zone-{k}" for k in range(len(polygons)))
    nodes = tuple(f"node-{j}" for j in range(len(zone_trial.NODES)))
    return Site(grid, worn(fitted), nodes, names, zone_masks(grid, polygons))


def tell(
    trial: Trial, *, alive: npt.NDArray[np.bool_] | None = None, deaf: npt.NDArray[np.bool_] | None = None
) -> Told:
    """Feed the engine a second at a time, as its store does, and write down what it says by then.

    `alive` (N,): nodes whose silence counts; `deaf` (N,): nodes that hear nothing.
    """
    seconds, walkers, nodes = trial.rssi_dbm.shape
    site = site_of(trial)
    keys = [bytes([walker + 1] * 16) for walker in range(walkers)]
    persons = [Person(UUID(int=walker + 1), None, excluded=False) for walker in range(walkers)]
    walker_of = {person: walker for walker, person in enumerate(persons)}
    engine = Engine(site, Directory(dict(zip(keys, persons, strict=True))), itertools.count(1), itertools.count(1))
    running = np.ones(nodes, bool) if alive is None else alive
    rssi_dbm = trial.rssi_dbm if deaf is None else np.where(deaf, np.nan, trial.rssi_dbm)
    zones = np.full((seconds, walkers), NOWHERE)
    triggers: list[tuple[int, int, int]] = []
    fired: set[int] = set()
    for second in range(seconds):
        at_us = START_US + second * SECOND_US
        tokens = np.array([member_token(key, token_slot(at_us)) for key in keys], np.uint64)
        walker, node = np.nonzero(np.isfinite(rssi_dbm[second]))
        heard = Heard(
            np.full(len(walker), SubjectKind.TOKEN, np.uint8),
            tokens[walker],
            node,
            rssi_dbm[second][walker, node].astype(np.float32),
            np.ones(len(walker), np.int64),
        )
        engine.step(at_us, heard, running)
        engine.settle(at_us)
        engine.story = Story()
        for track in engine.tracks:
            who = walker_of[track.person]
            if track.presence:
                newest = max(track.presence.items(), key=lambda item: item[1].presence_id)[0]
                zones[second, who] = site.zones.index(newest)
            for zone, present in track.presence.items():
                due = present.trusted and at_us >= present.entered_us + DWELL_S * SECOND_US
                if due and present.presence_id not in fired:
                    fired.add(present.presence_id)
                    triggers.append((second, who, site.zones.index(zone)))
    return Told(zones, triggers)


def tell_strongest(trial: Trial) -> Told:
    """The zone of the node with the strongest median over the last seconds, as receivers without a map do."""
    seconds, walkers, nodes = trial.rssi_dbm.shape
    home = zone_trial.zone_of(zone_trial.NODES)
    zones = np.full((seconds, walkers), NOWHERE)
    filled = np.where(np.isfinite(trial.rssi_dbm), trial.rssi_dbm, zone_trial.FLOOR_DBM - 1)
    for second in range(seconds):
        recent = filled[max(0, second + 1 - STRONGEST_OVER_S) : second + 1]
        zones[second] = home[np.median(recent, axis=0).argmax(axis=1)]
    triggers = []
    for walker in range(walkers):
        for begin, end, zone in stays(zones[:, walker]):
            if end - begin >= DWELL_S:
                triggers.append((begin + DWELL_S, walker, zone))
    return Told(zones, [t for t in triggers if t[0] < seconds])


def figures(trial: Trial, told: Told) -> ZoneFigures:
    """Compare what was told with the truth."""
    truth = trial.zones
    known = told.zones != NOWHERE
    true_stays = [(w, *stay) for w in range(truth.shape[1]) for stay in stays(truth[:, w])]
    told_changes = sum(_changes(column[column != NOWHERE]) for column in told.zones.T)
    there = [truth[max(0, second - DWELL_S) : second + 1, walker] == zone for second, walker, zone in told.triggers]
    long = [stay for stay in true_stays if stay[2] - stay[1] > DWELL_S]
    met = [
        any(w == walker and zone == z and begin <= second < end for second, walker, zone in told.triggers)
        for w, begin, end, z in long
    ]
    return ZoneFigures(
        float((told.zones == truth).mean()),
        told_changes / max(1, sum(_changes(column) for column in truth.T)),
        float(1 - known.mean()),
        float(np.mean([inside.mean() > 0.5 for inside in there])) if there else 0.0,
        float(np.mean(met)) if met else 0.0,
        float(np.mean([inside[-1] for inside in there])) if there else 0.0,
    )


def stays(zones: Indices) -> list[tuple[int, int, int]]:
    """Runs of the same zone as (first second, second after the last, zone), nowhere left out."""
    edges = [0, *(np.flatnonzero(np.diff(zones)) + 1).tolist(), len(zones)]
    return [(a, b, int(zones[a])) for a, b in itertools.pairwise(edges) if zones[a] != NOWHERE]


def _changes(zones: Indices) -> int:
    return int((np.diff(zones) != 0).sum())


def _mean(found: list[ZoneFigures]) -> dict[str, float]:
    return {name: float(np.mean([getattr(f, name) for f in found])) for name in ZoneFigures.__slots__}
