"""What a dry run plans is what a strict sandbox accepts: no value costs a request that was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from support.shop_archive import SHOP_SETTINGS, shop_archive

from voucherify_sync.api import Mode, ReplayOptions, replay


@pytest.mark.parametrize("customers", ["each", "bulk"])
@pytest.mark.parametrize("settings", SHOP_SETTINGS.values(), ids=SHOP_SETTINGS)
def test_all_that_is_planned_is_accepted(
    tmp_path: Path, settings: str, customers: Literal["each", "bulk"]
) -> None:
    """Record by record in the same states, but for delivered in the place of planned."""
    archive, config = tmp_path / "shop.ndjson", tmp_path / "shop.yaml"
    archive.write_text("\n".join(shop_archive(600)))
    config.write_text(settings)
    planned, sent = (
        replay(ReplayOptions(source=archive, config=config, mode=mode, customers=customers))
        for mode in (Mode.DRY_RUN, Mode.SANDBOX)
    )
    assert planned.outcomes["planned"] > 250
    assert sent.reasons["failed"] == {}
    assert sent.outcomes == {**planned.outcomes, "delivered": planned.outcomes["planned"], "planned": 0}
