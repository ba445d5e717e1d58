"""Extremely randomised trees in numpy: a regression that also tells how the answers of alike cases spread.

Geurts, Ernst & Wehenkel, "Extremely randomized trees", Machine Learning 63 (2006): every node draws some features and
one threshold for each, and keeps the best of these. The spread is Meinshausen's, "Quantile Regression Forests", JMLR 7
(2006): a case is answered by the answers of those that share its leaves. A whole level of a tree is grown at once.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int32]

LEVELS_MOST = 64
"""Distinct answers that leaves tell apart; where there are more, each counts as the nearest of so many of them."""
DEPTH_MOST = 24


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes as columns: node 0 is the root, the two children of a node stand side by side."""

    feature: Numbers
    """-1 for a leaf."""
    threshold: Singles
    """A case goes to `child` where its feature is at most this, else to the one behind it."""
    child: Numbers
    shares: Singles
    """(nodes, levels): how the answers in a leaf are distributed; zeros elsewhere."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees, and the answers that their leaves hold shares of."""

    levels: Floats
    """Ascending."""
    trees: tuple[Tree, ...]

    def distribution(self, cases: Floats) -> Floats:
        """(cases, levels): the share of each answer among those of alike cases. A row adds up to 1."""
        table = cases.astype(np.float32)
        total = np.zeros((len(table), len(self.levels)), np.float32)
        for tree in self.trees:
            total += tree.shares[_leaves(tree, table)]
        return total.astype(np.float64) / len(self.trees)

    def to_bytes(self) -> bytes:
        """The forest as an npz archive."""
        out = io.BytesIO()
        np.savez_compressed(
            out,
            levels=self.levels,
            sizes=np.array([len(tree.feature) for tree in self.trees]),
            feature=np.concatenate([tree.feature for tree in self.trees]),
            threshold=np.concatenate([tree.threshold for tree in self.trees]),
            child=np.concatenate([tree.child for tree in self.trees]),
            shares=np.concatenate([tree.shares for tree in self.trees]),
        )
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Forest":
        """What to_bytes made. Raises ValueError or KeyError for anything else."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            ends = file["sizes"].cumsum()[:-1]
            columns = [np.split(file[name], ends) for name in ("feature", "threshold", "child", "shares")]
            return cls(file["levels"], tuple(Tree(*tree) for tree in zip(*columns, strict=True)))


def quantile(levels: Floats, shares: Floats, share: float) -> Floats:
    """The level at or below which at least `share` of each row's answers lie."""
    reached = shares.cumsum(1) >= share - 1e-6
    reached[:, -1] = True
    return np.asarray(levels[reached.argmax(1)])


def trimmed_mean(levels: Floats, shares: Floats, trim: float) -> Floats:
    """The mean of each row without that share of its answers at either end."""
    upper = shares.cumsum(1)
    kept = np.clip(np.minimum(upper, 1 - trim) - np.maximum(upper - shares, trim), 0, None)
    return np.asarray(kept @ levels / kept.sum(1))


def grow(cases: Floats, answers: Floats, *, trees: int, leaf: int, features: float, seed: int = 0) -> Forest:
    """Trees over all the cases, at least `leaf` in each leaf, each split the best of that share of the features.

    The same seed gives the same forest. Raises ValueError without a case.
    """
    if not len(answers):
        raise ValueError("a forest needs at least one case")
    table, random = cases.astype(np.float32), np.random.default_rng(seed)
    levels = np.unique(answers)
    if len(levels) > LEVELS_MOST:
        levels = np.quantile(levels, np.linspace(0, 1, LEVELS_MOST), method="inverted_cdf")
    level = np.abs(answers[:, None] - levels).argmin(1)
    drawn = max(1, round(features * table.shape[1]))
    grown = []
    for _ in range(trees):
        feature, threshold, child, ends = _split(table, answers, leaf, drawn, random)
        shares = np.zeros((len(feature), len(levels)), np.float32)
        np.add.at(shares, (ends, level), 1)
        shares /= np.maximum(shares.sum(1, keepdims=True), 1)
        grown.append(Tree(feature, threshold, child, shares))
    return Forest(levels, tuple(grown))


def _split(
    table: Singles, answers: Floats, leaf: int, drawn: int, random: np.random.Generator
) -> tuple[Numbers, Singles, Numbers, Numbers]:
    """One tree's nodes (feature, threshold, child), and the leaf that each case ends in."""
    ends = np.zeros(len(table), np.int32)
    features, thresholds, children = [np.full(1, -1, np.int32)], [np.zeros(1, np.float32)], [np.zeros(1, np.int32)]
    first, size = 0, 1
    rows = np.arange(len(table))
    """The cases in the level's nodes, which are first … first + size - 1, in their order."""
    for _ in range(DEPTH_MOST):
        rows, node = _undecided(rows, ends, answers, first, size, leaf)
        if not len(rows):
            break
        numbers, begin, at = np.unique(node, return_index=True, return_inverse=True)
        chosen = _draw(len(numbers), table.shape[1], drawn, random)
        y, values = answers[rows], table[rows[:, None], chosen[at]]
        low, high = np.minimum.reduceat(values, begin), np.maximum.reduceat(values, begin)
        cut = low + (high - low) * random.random(low.shape, np.float32)
        left = values <= cut[at]
        best, splits = _best(left, y, begin, leaf)
        if not splits.any():
            break
        each = np.arange(len(numbers))
        where = numbers[splits]
        features[-1][where] = chosen[each, best][splits]
        thresholds[-1][where] = cut[each, best][splits]
        first += size
        children[-1][where] = first + 2 * np.arange(len(where))
        moving = splits[at]
        moved = rows[moving]
        ends[moved] = children[-1][node[moving]] + ~left[moving, best[at[moving]]]
        size = 2 * len(where)
        rows = moved[np.argsort(ends[moved], kind="stable")]
        features.append(np.full(size, -1, np.int32))
        thresholds.append(np.zeros(size, np.float32))
        children.append(np.zeros(size, np.int32))
    return np.concatenate(features), np.concatenate(thresholds), np.concatenate(children), ends


def _undecided(
    rows: npt.NDArray[np.intp], ends: Numbers, answers: Floats, first: int, size: int, leaf: int
) -> tuple[npt.NDArray[np.intp], Numbers]:
    """The cases of nodes that may still be split, and each one's node within the level."""
    node = ends[rows] - first
    begin = np.searchsorted(node, np.arange(size))
    y = answers[rows]
    open_ = np.maximum.reduceat(y, begin) > np.minimum.reduceat(y, begin)
    open_ &= np.bincount(node, minlength=size) >= 2 * leaf
    stays = open_[node]
    return rows[stays], node[stays]


def _draw(nodes: int, width: int, drawn: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Which features each node looks at, drawn without putting back."""
    if drawn >= width:
        return np.tile(np.arange(width), (nodes, 1))
    return np.argpartition(random.random((nodes, width), np.float32), drawn, axis=1)[:, :drawn]


def _best(
    left: npt.NDArray[np.bool_], y: Floats, begin: npt.NDArray[np.intp], leaf: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Of each node the split that explains most of the answers' variance, and whether there is any."""
    n = np.diff(np.append(begin, len(y)))[:, None]
    total = np.add.reduceat(y, begin)[:, None]
    n_left = np.add.reduceat(left, begin, dtype=np.float64)
    y_left = np.add.reduceat(np.where(left, y[:, None], 0), begin)
    n_right, y_right = n - n_left, total - y_left
    allowed = (n_left >= leaf) & (n_right >= leaf)
    gain = np.where(allowed, y_left**2 / np.maximum(n_left, 1) + y_right**2 / np.maximum(n_right, 1), -np.inf)
    best = gain.argmax(1)
    return best, allowed[np.arange(len(best)), best]


def _leaves(tree: Tree, table: Singles) -> npt.NDArray[np.intp]:
    """The leaf that each case ends in."""
    at = np.zeros(len(table), np.intp)
    rows = np.arange(len(table))
    while len(rows):
        feature = tree.feature[at[rows]]
        inner = feature >= 0
        rows, feature = rows[inner], feature[inner]
        at[rows] = tree.child[at[rows]] + (table[rows, feature] > tree.threshold[at[rows]])
    return at
