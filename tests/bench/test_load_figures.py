"""Figures of webhook, burst and growth: how samples become figures, tables and targets."""

from __future__ import annotations

from bench.measure import burst_page, growth_page, webhook
from bench.measure.burst import Acknowledged, Burst, curve, started_at
from bench.measure.growth import ACK, AGAIN, BARE_AGAIN, BARE_SIGNAL, BARE_UPDATE, ENSURE, Growth, Size
from bench.measure.load import Window
from bench.measure.quantiles import spread
from localdaytona.journal import Entry


def _level(callers: int, ours: list[float], bare: list[float]) -> webhook.Level:
    sides = {}
    for who, rates in (("ours", ours), ("bare", bare)):
        windows = [Window(10 / rate, [0.001] * 10) for rate in rates]
        sides[callers, who] = webhook._Taken(windows, [{"api": 0.01}] * len(windows))
    return webhook._level(callers, sides)


def _size(issues: int, ack_ms: float, memory_mib: float = 100.0) -> Size:
    # An issue that no worker has in memory takes longer, and so does an empty workflow.
    replay_ms = 20.0 if issues > growth_page.CACHED_WORKFLOWS else 0.0
    times = {ACK: ack_ms, BARE_SIGNAL: 2.0, AGAIN: 45.0, BARE_AGAIN: 36.0}
    times |= {ENSURE: 50.0 + replay_ms, BARE_UPDATE: 40.0 + replay_ms}
    return Size(
        issues=issues,
        times_ms={what: spread([took]) for what, took in times.items()},
        requests_per_event=1.0,
        history_per_event=13.0,
        memory_mib={"api": 90.0, "worker-1": memory_mib},
        grown_in_s=1.0,
    )


def _burst(slowest_ms: float, statuses: dict[str, int]) -> Burst:
    side = Acknowledged(latency_ms=spread([1.0, slowest_ms]), curve_ms=curve([1.0, slowest_ms]), rate_per_s=10.0)
    return Burst(
        issues=2,
        statuses=statuses,
        ours=side,
        bare=side,
        acknowledged_curve_s=curve([1.0, 2.0]),
        right_each_s=[3.0, 4.0],
        violations=0,
        requests={"create": 2, "get": 5},
        processor_s={"api": 1.0},
        memory_mib={"api": 90.0},
    )


def test_ratio_of_the_webhook_is_taken_round_by_round_where_the_bare_side_is_fastest() -> None:
    """A slow round slows both sides and does not change the ratio."""
    figures = webhook.Webhook(levels=[_level(1, [90, 90], [100, 100]), _level(8, [80, 8, 160], [100, 10, 400])])
    assert figures.saturated.callers == 1
    figures = webhook.Webhook(levels=[_level(1, [90], [100]), _level(8, [80, 8, 160], [160, 10, 400])])
    assert figures.saturated.callers == 8
    (target,) = webhook.targets(figures)
    assert (round(target.value, 3), target.is_met) == (0.5, False)


def test_webhook_page_shows_processor_time_of_one_call() -> None:
    """Ten calls in 0.01 s of processor time are 1 ms each."""
    figures = webhook.Webhook(levels=[_level(1, [90], [100])])
    assert figures.levels[0].ours.processor_ms == {"api": 1.0}
    assert "| webhook, 1 at once | 10 | 1 ms | 1 ms | 90 | 0.9 |" in webhook.render(figures)


def test_burst_targets_want_every_acknowledgement_in_time_and_2xx() -> None:
    """One slow answer or one refusal misses the target."""
    assert all(target.is_met for target in burst_page.targets(_burst(4999.0, {"202": 20})))
    slow = [target.is_met for target in burst_page.targets(_burst(5001.0, {"202": 20}))]
    refused = [target.is_met for target in burst_page.targets(_burst(10.0, {"202": 18, "503": 1, "none": 1}))]
    assert (slow, refused) == ([False, True, True], [True, False, True])
    assert _burst(10.0, {"202": 18, "503": 1, "none": 1}).refused == 2


def test_started_at_takes_the_first_start_of_each_name() -> None:
    """A second start of the same sandbox does not count as a second issue."""

    def entry(seq: int, name: str, new: str, kind: str = "state") -> Entry:
        return Entry(seq=seq, at=float(seq), kind=kind, sandbox_id=name, name=name, operation=None, detail={"new": new})

    journal = [
        entry(1, "a", "creating"),
        entry(2, "b", "started"),
        entry(3, "a", "started"),
        entry(4, "b", "started"),
        entry(5, "c", "started", "labels"),
    ]
    assert started_at(journal) == [2.0, 3.0]


def test_curve_goes_from_the_least_to_the_most() -> None:
    """The steps are even and include both ends."""
    assert curve([3.0, 1.0, 2.0], steps=4) == [1.0, 1.5, 2.0, 2.5, 3.0]


def test_growth_is_judged_by_the_ratio_to_the_floor_and_memory_from_a_full_cache_on() -> None:
    """Acknowledgements that grow by a fifth over their floor are not flat; a filling cache is not a leak."""
    figures = Growth(sizes=[_size(100, 5.0, 100.0), _size(1000, 5.0, 300.0), _size(10_000, 6.0, 310.0)])
    met = {target.name: target.is_met for target in growth_page.targets(figures)}
    assert met == {
        f"{ACK} / floor, 10000 to 100 issues": False,
        f"{ENSURE} / floor, 10000 to 100 issues": True,
        f"{AGAIN} / floor, 10000 to 100 issues": True,
        "memory of api, 10000 to 1000 issues": True,
        "memory of worker-1, 10000 to 1000 issues": True,
        "Daytona requests, 10000 to 100 issues": True,
    }
    quick = Growth(sizes=[_size(10, 5.0), _size(100, 5.0), _size(1000, 5.0)])
    assert not [target for target in growth_page.targets(quick) if "memory" in target.name]


def test_charts_have_a_caption_each() -> None:
    """The page shows every chart."""
    drawn = [
        (webhook.WEBHOOK, webhook.draw(webhook.Webhook(levels=[_level(1, [90], [100])]))),
        (burst_page.BURST, burst_page.draw(_burst(10.0, {"202": 20}))),
        (growth_page.GROWTH, growth_page.draw(Growth(sizes=[_size(10, 5.0), _size(100, 5.0)]))),
    ]
    for measurement, figures in drawn:
        assert set(figures) == set(measurement.chart_captions)
