"""One store's story told by the engine: visits, zones, and who stays out of them."""

import itertools
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest

from cloud.locate.directory import Directory, Person
from cloud.locate.engine import AWAY_AFTER_US, VISIT_ENDS_AFTER_US, Engine
from cloud.locate.radiomap import Grid, RadioMap
from cloud.locate.story import Heard, Site
from cloud.locate.zones import zone_masks
from contract.identity import SubjectKind, client_token, member_token, token_slot

START = 1_790_000_100_000_000
KEY = bytes(range(16))
ADA = Person(UUID(int=1), None, excluded=False)
TROLLEY = Person(None, 7, excluded=True)
TROLLEY_SUBJECT = 77
NODES = np.array([(0.0, 0.0, 2.0), (12.0, 0.0, 2.0), (12.0, 9.0, 2.0), (0.0, 9.0, 2.0)])
GRID = Grid((0.0, 0.0), 0.5, 24, 18)
MAP = RadioMap.from_path_loss(GRID, NODES)
SHELF = [(8.0, 5.0), (12.0, 5.0), (12.0, 9.0), (8.0, 9.0)]
SITE = Site(GRID, MAP, ("a", "b", "c", "d"), ("shelf",), zone_masks(GRID, [SHELF]))
IN_THE_SHELF, FAR_OFF = (10.0, 7.0), (2.0, 2.0)
ALIVE = np.ones(4, bool)


@pytest.fixture
def engine() -> Engine:
    directory = Directory({KEY: ADA}, {TROLLEY_SUBJECT: TROLLEY})
    return Engine(SITE, directory, itertools.count(1), itertools.count(1))


def heard(kind: int, subject: int, xy: tuple[float, float], seed: int) -> Heard:
    """What the four nodes heard of one subject in a second: the map's mean with noise, five adverts each."""
    cell = int(GRID.cell_of(np.array(xy)))
    noise = np.random.default_rng(seed).normal(0, 1.5, 4)
    rssi = (MAP.mean_dbm[:, cell] + noise).astype(np.float32)
    return Heard(np.full(4, kind, np.uint8), np.full(4, subject, np.uint64), np.arange(4), rssi, np.full(4, 5))


def stay(engine: Engine, xy: tuple[float, float], from_s: int, to_s: int, kind: int = SubjectKind.TOKEN) -> None:
    """Somebody stands at a place for some seconds."""
    for second in range(from_s, to_s):
        at_us = START + second * 1_000_000
        subject = TROLLEY_SUBJECT if kind == SubjectKind.BEACON else member_token(KEY, token_slot(at_us))
        engine.step(at_us, heard(kind, subject, xy, second), ALIVE)


def walk(engine: Engine, path: npt.NDArray[np.float64], from_s: int) -> int:
    """Somebody is at one point a second; returns the second after the last."""
    for i, xy in enumerate(path):
        stay(engine, (float(xy[0]), float(xy[1])), from_s + i, from_s + i + 1)
    return from_s + len(path)


def test_a_member_becomes_a_visit_with_positions_near_the_place(engine: Engine) -> None:
    stay(engine, IN_THE_SHELF, 0, 20)
    assert [track.person for track in engine.story.began] == [ADA]
    _, _, x, y, spread = engine.story.positions[-1]
    assert np.hypot(x - IN_THE_SHELF[0], y - IN_THE_SHELF[1]) < 1.5
    assert spread < 3


def test_a_stay_in_a_zone_is_entered_and_left(engine: Engine) -> None:
    stay(engine, IN_THE_SHELF, 0, 20)
    stay(engine, FAR_OFF, 20, 45)
    (entered,), (left,) = engine.story.entered, engine.story.left
    assert (entered.zone, entered.source) == ("shelf", "fused")
    assert left.presence_id == entered.presence_id
    assert START + 20_000_000 <= left.at_us <= START + 32_000_000


def test_the_beginning_of_a_stay_is_told_again_and_close_to_the_truth(engine: Engine) -> None:
    approach = np.linspace((2.0, 7.0), (10.0, 7.0), 10)  # crosses x = 8 after 6.75 s
    second = walk(engine, approach, 0)
    stay(engine, IN_THE_SHELF, second, second + 20)
    truth = START + 6_750_000
    assert engine.story.revised, "the beginning was never revised"
    assert abs(engine.story.revised[-1].entered_us - truth) < 2_500_000


def test_an_unheard_member_leaves_the_zone_and_then_the_store(engine: Engine) -> None:
    stay(engine, IN_THE_SHELF, 0, 20)
    engine.settle(START + 19_000_000 + AWAY_AFTER_US)
    assert len(engine.story.left) == 1
    engine.settle(START + 19_000_000 + VISIT_ENDS_AFTER_US)
    (ended,) = engine.story.ended
    assert ended.seen_us == START + 19_000_000
    assert engine.tracks == []


def test_unknown_tokens_and_pseudonyms_leave_no_trace(engine: Engine) -> None:
    for kind in (SubjectKind.TOKEN, SubjectKind.PSEUDONYM, SubjectKind.BEACON, 9):
        engine.step(START + kind * 1_000_000, heard(kind, 123, FAR_OFF, 1), ALIVE)
    assert not engine.story.began
    assert not engine.story.positions


def test_a_revoked_consent_ends_the_visit_at_once_and_forgets_the_belief(engine: Engine) -> None:
    stay(engine, IN_THE_SHELF, 0, 20)
    assert ADA.member_id is not None
    engine.forget(ADA.member_id, START + 20_000_000)
    assert engine.tracks == []
    assert engine.story.left[-1].at_us == START + 20_000_000
    engine.directory = Directory({}, {})
    stay(engine, IN_THE_SHELF, 21, 30)
    assert len(engine.story.began) == 1, "the token is not resolved any more"


def test_assets_are_tracked(engine: Engine) -> None:
    stay(engine, FAR_OFF, 0, 10, kind=SubjectKind.BEACON)
    assert engine.story.positions


def test_a_nodes_word_alone_opens_a_stay_of_somebody_not_seen_otherwise(engine: Engine) -> None:
    token = member_token(KEY, token_slot(START))
    engine.node_presence(SubjectKind.TOKEN, token, "shelf", START, START - 1_000_000, 0.9, enter=True)
    (entered,) = engine.story.entered
    assert entered.source == "node"
    assert entered.at_us == START - 1_000_000
    engine.node_presence(SubjectKind.TOKEN, token, "shelf", START + 9, START + 5, 0.9, enter=False)
    assert engine.story.left[-1].at_us == START + 5


def test_a_nodes_word_is_not_believed_against_all_others(engine: Engine) -> None:
    stay(engine, FAR_OFF, 0, 15)
    token = member_token(KEY, token_slot(START))
    engine.node_presence(SubjectKind.TOKEN, token, "shelf", START + 15_000_000, START + 14_000_000, 0.9, enter=True)
    stay(engine, FAR_OFF, 16, 25)
    assert not engine.story.entered


def test_a_node_vouches_for_nobody_unknown(engine: Engine) -> None:
    engine.node_presence(SubjectKind.TOKEN, 5, "shelf", START, START, 0.9, enter=True)
    engine.node_presence(
        SubjectKind.TOKEN, member_token(KEY, token_slot(START)), "cellar", START, START, 0.9, enter=True
    )
    assert not engine.story.began


def test_a_card_or_a_wifi_client_stays_until_its_node_says_otherwise(engine: Engine) -> None:
    engine.directory = Directory({KEY: ADA}, {}, {77: ADA})
    for kind, subject in ((SubjectKind.TAG, 77), (SubjectKind.CLIENT, client_token(KEY))):
        engine.node_presence(kind, subject, "shelf", START, START, 0.9, enter=True)
        engine.settle(START + 600_000_000)
        assert len(engine.tracks) == 1 and not engine.story.left, "silence is all that a card that stays has to say"
        engine.node_presence(kind, subject, "shelf", START + 600_000_000, START + 590_000_000, 0.9, enter=False)
        engine.settle(START + 600_000_000 + VISIT_ENDS_AFTER_US)
        assert engine.tracks == [] and engine.story.left.pop().at_us == START + 590_000_000


def test_tokens_of_the_slot_before_and_after_are_the_member_too() -> None:
    directory = Directory({KEY: ADA}, {})
    slot = token_slot(START)
    for near, expected in ((slot - 2, None), (slot - 1, ADA), (slot, ADA), (slot + 1, ADA), (slot + 2, None)):
        assert directory.resolve(SubjectKind.TOKEN, member_token(KEY, near), START) == expected


def test_a_stay_that_becomes_doubtful_goes_on_but_is_not_trusted_until_it_is_sure_again(engine: Engine) -> None:
    stay(engine, IN_THE_SHELF, 0, 15)
    stay(engine, (7.9, 7.0), 15, 40)  # on the shelf's edge
    stay(engine, IN_THE_SHELF, 40, 60)
    (present,) = engine.story.entered[-1:]
    told = [t for t in engine.story.trusted if t.presence_id == present.presence_id]
    doubts = [not t.trusted for t in told]
    assert doubts and all(a != b for a, b in itertools.pairwise(doubts)), "told only when it changes"
    assert not doubts[-1], "at the end the shelf is sure"
