"""The condition tree: typed nodes, read from JSON, refused with the path of what is wrong."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MOST_NODES = 200
Op = Literal["eq", "ne", "lt", "lte", "gt", "gte"]


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class All(_Node):
    """Every part holds; an empty list holds for everyone."""

    all: list["Condition"] = Field(max_length=MOST_NODES)


class Any(_Node):
    """At least one part holds."""

    any: list["Condition"] = Field(min_length=1, max_length=MOST_NODES)


class Not(_Node):
    """The part does not hold."""

    not_: "Condition" = Field(alias="not")


class Trait(_Node):
    """A trait of the member's profile. A trait that is absent makes every comparison false, `ne` too."""

    trait: str = Field(max_length=64)
    op: Op
    value: str | int | float | bool


class Metric(_Node):
    """A figure of the member within `days`: `receipts`, `spend` (minor units), `recency_days`, `visits`.

    False for a member without consent to profiling.
    """

    metric: Literal["receipts", "spend", "recency_days", "visits"]
    op: Op
    value: float
    days: int = Field(default=90, ge=1, le=3650)


class Consent(_Node):
    """The newest word on a purpose; no word means no."""

    consent: Literal["in_store_sensing", "marketing_push", "profiling"]
    granted: bool = True


def _kind(value: object) -> str | None:
    keys = value.keys() if isinstance(value, dict) else getattr(type(value), "model_fields", {}).keys()
    names = {"all", "any", "not", "not_", "trait", "metric", "consent"} & set(keys)
    return names.pop().removesuffix("_") if len(names) == 1 else None


Condition = Annotated[
    Annotated[All, Tag("all")]
    | Annotated[Any, Tag("any")]
    | Annotated[Not, Tag("not")]
    | Annotated[Trait, Tag("trait")]
    | Annotated[Metric, Tag("metric")]
    | Annotated[Consent, Tag("consent")],
    Discriminator(_kind),
]

for _model in (All, Any, Not):
    _model.model_rebuild()
