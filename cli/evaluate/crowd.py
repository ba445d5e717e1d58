"""`./aisle eval crowd`: how many people are in a room, from counts of its Wi-Fi devices in each ten minutes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cli.evaluate.progress import working
from cli.evaluate.radio_recordings import RecordingError
from cloud.crowd.forest import Floats, grow
from cloud.crowd.model import PRIORS, Estimates, Learned, Ratio, folds, trailing
from edge.crowd import SPAN_US, STRONG_DBM, K
from edge.wifi_crowd import TOGETHER_US

BIN_US = 600_000_000
GATES_DBM = (-55, -60, -65, -70, -75, None)
"""Counts are of frames heard above each of these; None of all."""
TRAIL_BINS = 3
COUNTED, DRAWS = 8, 200
"""Heads that somebody counted, drawn so many times: what a store is calibrated with at first."""
FEWER_TREES = 40
PARTS = (0.5, 0.6, 0.7, 0.8)
"""Learn from the first part of the days, answer for the rest: how much the figures depend on where the cut is."""

COLUMNS = {"time": pl.String, "src": pl.Int64, "rssi_dbm": pl.Float64, "ie_hash": pl.UInt64, "occupancy": pl.Float64}


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean errors in people, over all bins and over those where somebody was; r2 is the variance explained."""

    mae: float
    mae_occupied: float
    r2: float


@dataclass(frozen=True, slots=True)
class FewCounts:
    """A ratio from a few counted heads of the days learned from: the median over draws, and the worst tenth."""

    mae: float
    mae_worst_tenth: float
    coverage80: float
    """How often its 80 % interval holds the truth, of bins with k people or more: of fewer none is told."""


@dataclass(frozen=True, slots=True)
class CrowdReport:
    """Ours; the same from less; and plain methods on the same bins."""

    mae: float
    mae_occupied: float
    mae_empty: float
    r2: float
    bins: int
    coverage80: float
    """How often the interval that is meant to hold the truth in 80 % of bins does; empty bins are easy."""
    coverage80_occupied: float
    bins_learned: int
    days_learned: int
    days: int
    cross_validated: Figures
    """Ours on the days learned from, each fold answered by the others."""
    rolling: dict[str, dict[str, Figures]]
    """By the part of the days learned from: ours, and the plain forest."""
    less: dict[str, Figures]
    """Ours from counts below k told as 0, and from no more than today's nodes send."""
    few_counts: FewCounts
    baselines: dict[str, Figures]


@dataclass(frozen=True, slots=True)
class Bins:
    """Ten minutes each, in order of time, those in which no frame was heard left out."""

    slot: npt.NDArray[np.int64]
    day: npt.NDArray[np.int64]
    people: Floats
    """The mean head count beside the frames."""
    counts: Floats
    """What a node could tell, see `_counts`; the mean of the bin's two spans."""
    told: Floats
    """The same, each count about fewer than k devices as 0."""
    sent: Floats
    """frames, radios, strong, devices, devices_strong as nodes send them: nothing of spans of fewer than k devices."""
    strong: Floats
    """devices_strong alone."""
    plain: Floats
    """The ten aggregates over whole bins that plain methods take."""

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Bins":
        """The chosen ones."""
        return Bins(*(getattr(self, name)[chosen] for name in self.__slots__))


PLAIN = ("frames", "macs", "prints", "frames_75", "macs_75", "prints_75", "frames_60", "macs_60", "prints_60", "rssi")


@working("eval crowd: reading the frames, learning, answering")
def evaluate(train: Path, test: Path | None = None, *, split: float = 0.7, rolling: bool = False) -> CrowdReport:
    """Learns from one recording and answers for another, or cuts one at `split` of its days.

    Raises RecordingError, naming the file and the column.
    """
    everything = read_bins(train)
    learned = answered = everything
    if test is not None:
        answered = read_bins(test)
    else:
        learned, answered = _cut(train, everything, split)
    features, asked = (steadied(b.slot, b.counts) for b in (learned, answered))
    if test is None:
        # The half hour before the first bin answered is known by then.
        asked = steadied(everything.slot, everything.counts)[everything.day >= answered.day[0]]
    found = Learned.fit(features, learned.people, learned.day).estimate(asked)
    truth, occupied = answered.people, answered.people > 0
    inside = (truth >= found.low) & (truth <= found.high)
    ours = _figures(truth, found.people)
    return CrowdReport(
        mae=ours.mae,
        mae_occupied=ours.mae_occupied,
        mae_empty=_mean(np.abs(found.people - truth)[~occupied]),
        r2=ours.r2,
        bins=len(truth),
        coverage80=_mean(inside),
        coverage80_occupied=_mean(inside[occupied]),
        bins_learned=len(learned.people),
        days_learned=len(np.unique(learned.day)),
        days=len(np.unique(answered.day)),
        cross_validated=_cross_validated(learned, features),
        rolling={f"{part:g}": _both(*_cut(train, everything, part)) for part in PARTS} if rolling else {},
        less={
            f"counts below {K} as 0": _less(learned, answered, learned.told, answered.told),
            "what nodes send": _less(learned, answered, learned.sent, answered.sent),
        },
        few_counts=_few_counts(learned, answered),
        baselines=_baselines(learned, answered),
    )


def steadied(slots: npt.NDArray[np.int64], counts: Floats) -> Floats:
    """Counts beside their mean over the last half hour."""
    return np.hstack([counts, trailing(counts, slots, TRAIL_BINS)])


def _cut(path: Path, bins: Bins, part: float) -> tuple[Bins, Bins]:
    days = np.unique(bins.day)
    at = int(len(days) * part)
    if not 0 < at < len(days):
        raise RecordingError(path, f"{len(days)} days cannot be cut at {part:g}")
    return bins.of(bins.day < days[at]), bins.of(bins.day >= days[at])


def _less(learned: Bins, answered: Bins, known: Floats, asked: Floats) -> Figures:
    return _figures(answered.people, _answers(learned, steadied(learned.slot, known), steadied(answered.slot, asked)))


def _both(learned: Bins, answered: Bins) -> dict[str, Figures]:
    return {
        "ours": _less(learned, answered, learned.counts, answered.counts),
        "forest": _figures(answered.people, _forest(learned, answered)),
    }


def _cross_validated(learned: Bins, features: Floats) -> Figures:
    found = np.zeros(len(learned.people))
    for known in folds(learned.day):
        found[~known] = _answers(learned.of(known), features[known], features[~known])
    return _figures(learned.people, found)


def _answers(learned: Bins, known: Floats, asked: Floats) -> Floats:
    """What a smaller forest estimates, without intervals: they would take as long again."""
    one_day = np.zeros(len(known), np.int64)
    return Learned.fit(known, learned.people, one_day, trees=FEWER_TREES).estimate(asked).people


def _few_counts(learned: Bins, answered: Bins) -> FewCounts:
    """Heads are counted while people are about: who calibrates a store does not come at night."""
    random = np.random.default_rng(0)
    busy = np.flatnonzero(learned.people >= 1)
    errors, covered = [], []
    here = answered.people >= K
    if len(busy) < COUNTED or not here.any():
        return FewCounts(0.0, 0.0, 0.0)
    for _ in range(DRAWS):
        drawn = random.choice(busy, COUNTED, replace=False)
        ratio = Ratio.fit(learned.strong[drawn], learned.people[drawn], np.zeros(COUNTED), PRIORS["wifi"])
        found: Estimates = ratio.estimate(answered.strong)
        errors.append(_mean(np.abs(found.people - answered.people)))
        covered.append(_mean(((answered.people >= found.low) & (answered.people <= found.high))[here]))
    return FewCounts(float(np.median(errors)), float(np.quantile(errors, 0.9)), float(np.median(covered)))


def _baselines(learned: Bins, answered: Bins) -> dict[str, Figures]:
    truth = answered.people
    column = {name: PLAIN.index(name) for name in ("macs", "prints_60")}
    return {
        "constant": _figures(truth, np.full(len(truth), learned.people.mean())),
        "distinct MACs": _figures(truth, _linear(learned, answered, column["macs"])),
        "strong fingerprints": _figures(truth, _linear(learned, answered, column["prints_60"])),
        "forest, 10 counts": _figures(truth, _forest(learned, answered)),
    }


def _linear(learned: Bins, answered: Bins, column: int) -> Floats:
    slope, offset = np.polyfit(learned.plain[:, column], learned.people, 1)
    return np.asarray(slope * answered.plain[:, column] + offset)


def _forest(learned: Bins, answered: Bins) -> Floats:
    """The mean of a forest, as libraries answer."""
    forest = grow(learned.plain, learned.people, trees=100, leaf=5, features=1.0)
    return np.asarray(forest.distribution(answered.plain) @ forest.levels)


def _figures(truth: Floats, found: Floats) -> Figures:
    off = np.abs(found - truth)
    spread = float(((truth - truth.mean()) ** 2).sum())
    r2 = 1 - float(((truth - found) ** 2).sum()) / spread if spread else 0.0
    return Figures(_mean(off), _mean(off[truth > 0]), r2)


def _mean(values: npt.NDArray[np.float64 | np.bool_]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def read_bins(path: Path) -> Bins:
    """The bins of a recording: a row a probe request, the head count beside it. Raises RecordingError."""
    frames = _read(path)
    spans = _counts(frames)
    sent = spans["devices"].to_numpy() >= K
    per_bin = _of_bin(frames)
    slot = per_bin["slot"].to_numpy()
    count_columns = [name for name in spans.columns if name != "span"]
    counted = spans.select(count_columns).cast(pl.Float64).to_numpy()
    at = np.searchsorted(slot, spans["span"].to_numpy() * SPAN_US // BIN_US)

    def halves(table: Floats) -> Floats:
        """The mean of a bin's two spans; one without a frame counted nobody."""
        total = np.zeros((len(slot), table.shape[1]))
        np.add.at(total, at, table)
        return total / (BIN_US / SPAN_US)

    devices = np.column_stack([counted[:, count_columns.index(_device_column(name))] for name in count_columns])
    five = [count_columns.index(f"{name}{suffix}") for name, suffix in _SENT]
    told = np.where((devices >= K) & sent[:, None], counted, 0)
    whole = Bins(
        slot=slot,
        day=per_bin["day"].to_numpy(),
        people=per_bin["people"].to_numpy(),
        counts=halves(counted),
        told=halves(told),
        sent=halves(told[:, five]),
        strong=halves(counted)[:, count_columns.index(f"devices{_suffix(STRONG_DBM)}")],
        plain=per_bin.select(PLAIN).cast(pl.Float64).fill_null(-100).to_numpy(),
    )
    known = whole.of(np.isfinite(whole.people))
    if not len(known.slot):
        raise RecordingError(path, "column 'occupancy': no bin has a head count")
    return known


_SENT = (("frames", ""), ("radios", ""), ("radios", "_70"), ("devices", ""), ("devices", "_70"))


def _suffix(gate: int | None) -> str:
    return "" if gate is None else f"_{-gate}"


def _device_column(name: str) -> str:
    """The devices that a count is about: those heard above the same level."""
    kind, _, gate = name.partition("_")
    return f"devices_{gate}" if gate else "devices"


def _counts(frames: pl.DataFrame) -> pl.DataFrame:
    """Of every span of five minutes and each gate: frames, radios, fingerprints, devices, and fingerprints of addresses
    that devices made up. Nothing of a span is known in the next; a node could hash, count and forget as it does now.
    """
    made_up = pl.col("src") // 2**41 % 2 == 1  # the address's locally administered bit
    table = frames.select("span").unique()
    for gate in GATES_DBM:
        heard = frames if gate is None else frames.filter(pl.col("rssi_dbm") > gate)
        end = _suffix(gate)
        table = table.join(
            heard.group_by("span").agg(
                pl.len().alias(f"frames{end}"),
                pl.col("src").n_unique().alias(f"radios{end}"),
                pl.col("ie_hash").n_unique().alias(f"prints{end}"),
                pl.col("ie_hash").filter(made_up).n_unique().alias(f"madeup{end}"),
            ),
            on="span",
            how="left",
        ).join(_devices(heard).rename({"devices": f"devices{end}"}), on="span", how="left")
    return table.fill_null(0).sort("span")


def _devices(heard: pl.DataFrame) -> pl.DataFrame:
    """The rule of `edge.wifi_crowd`: of each fingerprint as many as ever asked within one second."""
    together = heard.group_by("span", "ie_hash", pl.col("us") // TOGETHER_US).agg(pl.col("src").n_unique().alias("n"))
    most = together.group_by("span", "ie_hash").agg(pl.col("n").max())
    return most.group_by("span").agg(pl.col("n").sum().alias("devices"))


def _of_bin(frames: pl.DataFrame) -> pl.DataFrame:
    """The truth of every bin and the aggregates that plain methods take."""
    parts = [
        pl.len().alias("frames"),
        pl.col("src").n_unique().alias("macs"),
        pl.col("ie_hash").n_unique().alias("prints"),
        pl.col("rssi_dbm").mean().alias("rssi"),
        pl.col("occupancy").mean().alias("people"),
        (pl.col("us").first() // 86_400_000_000).alias("day"),
    ]
    for gate in (-75, -60):
        above, end = pl.col("rssi_dbm") > gate, _suffix(gate)
        parts += [
            above.sum().alias(f"frames{end}"),
            pl.col("src").filter(above).n_unique().alias(f"macs{end}"),
            pl.col("ie_hash").filter(above).n_unique().alias(f"prints{end}"),
        ]
    return frames.group_by((pl.col("us") // BIN_US).alias("slot")).agg(parts).drop_nulls("people").sort("slot")


def _read(path: Path) -> pl.DataFrame:
    try:
        rows = pl.read_parquet(path, columns=None)
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise RecordingError(path, f"is not of the expected file type: {error}") from error
    for name, kind in COLUMNS.items():
        if name not in rows.columns:
            raise RecordingError(path, f"column {name!r} is missing; it has {', '.join(rows.columns)}")
        if rows[name].dtype != kind and not (rows[name].dtype.is_numeric() and kind != pl.String):
            raise RecordingError(path, f"column {name!r} is of {rows[name].dtype}, expected {kind}")
    at = pl.col("time").str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S%.f", strict=False)
    frames = rows.select(
        at.dt.epoch("us").alias("us"), "src", pl.col("rssi_dbm").cast(pl.Float64), "ie_hash",
        pl.col("occupancy").cast(pl.Float64),
    ).drop_nulls("us").sort("us").with_columns((pl.col("us") // SPAN_US).alias("span"))  # fmt: skip
    if frames.is_empty():
        raise RecordingError(path, "no row has a time like 2023-11-28 10:53:42.597")
    return frames
