"""Retention: a policy and what there is, to what is kept and why. Pure values; no clock."""

from immutable.lifecycle.retention.deciding import decide
from immutable.lifecycle.retention.items import Decision, Deployed, Item, Mention
from immutable.lifecycle.retention.policy import (
    Condition,
    Policy,
    Rule,
    parse,
    parse_age,
    parse_size,
)
from immutable.store.budget import Cache, evict

__all__ = [
    "Cache",
    "Condition",
    "Decision",
    "Deployed",
    "Item",
    "Mention",
    "Policy",
    "Rule",
    "decide",
    "evict",
    "parse",
    "parse_age",
    "parse_size",
]
