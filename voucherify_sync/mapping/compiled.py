"""The mapping made straight: settings in, a decoder of what they need and one function for each type of event out.

What is out of the ordinary is left to the general mapping, before anything was counted. That one is right by
definition: what is made here is, byte for byte, what it makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from voucherify_sync.mapping.filters import OUR_INTEGRATIONS
from voucherify_sync.mapping.narrow import Needs, Taken
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.mapping.plan import Plan
from voucherify_sync.mapping.straight import Function, TimeOf, straight_function
from voucherify_sync.settings.types import Settings

_TEXTS: Final = ("type", "event", "messageId", "userId", "anonymousId")


class Compiled:
    """What makes requests of ordinary events.

    Args:
        mapping: the general one; the rows that fire are counted there.
        settings: whose mapping it is.
        time_of: reads timestamps.

    Attributes:
        decode: takes a line and returns what is needed of its event; raises ValueError where it is not ordinary.
        functions: by type of event, what makes the body of its request. A type that is missing is never ordinary.
    """

    def __init__(self, mapping: Mapping, settings: Settings, time_of: TimeOf) -> None:
        needs = Needs()
        for key in _TEXTS:
            needs.value((key,), Taken.TEXT)
        needs.value(("timestamp",), Taken.ANYTHING)
        for key in OUR_INTEGRATIONS:
            needs.value(("integrations", key), Taken.NOTHING)
        if not settings.personas.disabled:
            needs.value(("context", "personas"), Taken.NOTHING)
        plans = {
            "identify": Plan(mapping.translators["identify"], settings.identify.add),
            "track": Plan(mapping.translators["track"], settings.track.add),
        }
        for plan in plans.values():
            if plan.is_possible:
                plan.ask(needs)
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(needs.struct()).decode
        self.functions: dict[str, Function] = {}
        for kind, plan in plans.items():
            if plan.is_possible:
                fired = mapping.translators[kind].table.fired
                watches_names = kind == "track" and mapping.watches_names
                self.functions[kind] = straight_function(
                    kind, plan, needs, fired, time_of, watches_names=watches_names
                )
