"""A condition tree as one SQL expression over a row `m` of `member`, with every value a parameter."""

from dataclasses import dataclass, field
from typing import LiteralString

from psycopg.types.json import Jsonb

from cloud.conditions.tree import All, Any, Condition, Consent, Metric, Not, Trait

OPERATORS: dict[str, LiteralString] = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}

METRICS: dict[str, LiteralString] = {
    "receipts": "(SELECT count(*) FROM receipt r WHERE {mine} AND r.kind = 'sale' AND {within})",
    "spend": "(SELECT coalesce(sum(r.total), 0) FROM receipt r WHERE {mine} AND {within})",
    "recency_days": "(SELECT extract(epoch FROM %(now)s - max(r.at)) / 86400 FROM receipt r WHERE {mine} AND {within})",
    "visits": "(SELECT count(*) FROM visit r WHERE {mine} AND r.started_at > %(now)s - make_interval(days => {days}))",
}


@dataclass(slots=True)
class Compiled:
    """SQL text and its named parameters. `now` (the instant to judge at) is left to the caller."""

    sql: LiteralString = ""
    params: dict[str, object] = field(default_factory=dict)

    def bind(self, value: object) -> LiteralString:
        """A placeholder for the value."""
        name = f"c{len(self.params)}"
        self.params[name] = value
        return f"%({name})s"  # made of a counter, never of input


def compile_condition(condition: Condition) -> Compiled:
    """The tree as SQL that is true, false or null (no) for a member `m`."""
    compiled = Compiled()
    compiled.sql = _expression(condition, compiled)
    return compiled


def _expression(node: Condition, out: Compiled) -> LiteralString:
    match node:
        case All(all=parts):
            return "(" + " AND ".join(_expression(part, out) for part in parts) + ")" if parts else "true"
        case Any(any=parts):
            return "(" + " OR ".join(_expression(part, out) for part in parts) + ")"
        case Not(not_=part):
            return "(NOT coalesce(" + _expression(part, out) + ", false))"
        case Trait():
            return _trait(node, out)
        case Metric():
            return _metric(node, out)
        case Consent():
            return "(" + _says_yes(node.consent, out) + " = " + out.bind(node.granted) + ")"


def _trait(node: Trait, out: Compiled) -> LiteralString:
    name, value = out.bind(node.trait), out.bind(Jsonb(node.value))
    same_type = "jsonb_typeof(m.traits -> " + name + ") = jsonb_typeof(" + value + "::jsonb)"
    return "(" + same_type + " AND (m.traits -> " + name + ") " + OPERATORS[node.op] + " " + value + "::jsonb)"


def _says_yes(purpose: str, out: Compiled) -> LiteralString:
    """Whether the newest word on a purpose is a yes; no word is a no."""
    return (
        "coalesce((SELECT c.granted FROM consent c WHERE c.tenant_id = m.tenant_id AND c.member_id = m.member_id"
        " AND c.purpose = " + out.bind(purpose) + " ORDER BY c.consent_id DESC LIMIT 1), false)"
    )


def _metric(node: Metric, out: Compiled) -> LiteralString:
    """A comparison that is false for a member who does not agree to being chosen by what they buy."""
    days = out.bind(node.days)
    text = METRICS[node.metric]
    text = text.replace("{within}", "r.at <= %(now)s AND r.at > %(now)s - make_interval(days => {days})")
    text = text.replace("{mine}", "r.tenant_id = m.tenant_id AND r.member_id = m.member_id").replace("{days}", days)
    compared = text + " " + OPERATORS[node.op] + " " + out.bind(node.value)
    return "(" + _says_yes("profiling", out) + " AND coalesce(" + compared + ", false))"
