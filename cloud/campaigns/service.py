"""A campaign's result from its decisions, pushes, coupons and receipts."""

from typing import Any

from psycopg import Connection

from cloud import db
from cloud.campaigns.lift import newcombe
from cloud.campaigns.models import Arm, Result
from cloud.errors import NotFound

sql = db.statements("cloud.campaigns")

FEW = 30
"""Members in the smaller arm below which no verdict is given."""


def result(conn: Connection[Any], tenant: str, campaign: str) -> Result:
    """What the campaign did so far. Raises NotFound."""
    key = {"tenant": tenant, "campaign": campaign}
    if conn.execute(sql.campaign_state, key).fetchone() is None:
        raise NotFound(f"no campaign {campaign!r}")
    sums = {"sent": 0, "ghost": 0, "refused": 0}
    refused: dict[str, int] = {}
    shown = clicked = used = 0
    for outcome, reason, count, *reached in conn.execute(sql.outcomes, key):
        sums[outcome] += count
        shown, clicked, used = (a + b for a, b in zip((shown, clicked, used), reached, strict=True))
        if outcome == "refused":
            refused[reason] = count
    arms = {arm: (n, bought) for arm, n, bought in conn.execute(sql.arms, key)}
    target, control = arms.get("target", (0, 0)), arms.get("control", (0, 0))
    return Result(
        decided=sum(sums.values()),
        sent=sums["sent"],
        ghosts=sums["ghost"],
        shown=shown,
        clicked=clicked,
        used=used,
        refused=dict(sorted(refused.items(), key=lambda item: -item[1])),
        target=_arm(*target),
        control=_arm(*control),
        **_lift(target, control),
    )


def _arm(n: int, bought: int) -> Arm:
    return Arm(n=n, bought=bought, rate=bought / n if n else None)


def _lift(target: tuple[int, int], control: tuple[int, int]) -> dict[str, Any]:
    if not target[0] or not control[0]:
        note = "No lift yet: it takes members in both arms who reached the zone."
        return {"lift_pp": None, "ci_low_pp": None, "ci_high_pp": None, "verdict": "unknown", "note": note}
    difference = newcombe(target[1], target[0], control[1], control[0])
    few = min(target[0], control[0]) < FEW
    verdict = "unknown" if few else "works" if difference.low > 0 else "harms" if difference.high < 0 else "unknown"
    note = (
        f"The smaller arm has {min(target[0], control[0])} members; no verdict below {FEW}."
        if few
        else "95 % interval of the difference of shares (Newcombe); members by their first trigger, as assigned."
    )
    pp = {"lift_pp": difference.value, "ci_low_pp": difference.low, "ci_high_pp": difference.high}
    return {name: round(100 * value, 2) for name, value in pp.items()} | {"verdict": verdict, "note": note}
