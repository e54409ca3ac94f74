"""Retention: a policy and what there is, to what is kept and why. Pure values; no clock."""

from immutable.retention.budget import Cache, evict
from immutable.retention.deciding import decide
from immutable.retention.items import Decision, Deployed, Item, Mention
from immutable.retention.policy import Condition, Policy, Rule, parse, parse_age, parse_size

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
