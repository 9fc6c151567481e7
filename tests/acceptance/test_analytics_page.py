"""The analytics page in a real browser, on what really went through the pipeline."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.acceptance.chat import chromium  # noqa: F401  # a fixture
from tests.acceptance.conftest import GLOBEX_KEY, System, wait_for
from tests.acceptance.dashboard import (
    VIEWS,
    Dashboard,
    Traffic,
    analytics_page,  # noqa: F401  # a fixture
    some_traffic,  # noqa: F401  # a fixture
)

pytestmark = pytest.mark.acceptance

_WAIT_S = 20.0


def test_the_figures_are_those_of_the_api(dashboard: Dashboard, traffic: Traffic) -> None:
    """Tiles and tables show what the catalogue answers for the same time."""
    dashboard.admin(**traffic.window)
    (totals,) = dashboard.rows("traffic_totals", **traffic.window)
    assert totals["requests"] >= 6
    for name in ("requests", "cost_usd", "p95_latency_ms", "error_share", "block_share", "hit_share"):
        assert float(dashboard.figure(name)) == pytest.approx(totals[name]), name
    dashboard.admin(view="cost", **traffic.window)
    told = dashboard.rows("cost_by", by="model", **traffic.window)
    shown = dashboard.table("cost-by")
    assert [(row[0], row[1]) for row in shown] == [
        (row["key"] or "none", f"{row['requests']:,}") for row in told
    ]


def test_every_view_is_shown_in_dark_and_in_light_and_on_a_phone(
    browser: Any, healthy: System, traffic: Traffic
) -> None:
    """Without a fault, and nothing sticks out at the side."""
    for look, width in (("light", 1280), ("dark", 360)):
        with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=look) as context:
            dashboard = Dashboard(context.new_page(), healthy)
            for view in VIEWS:
                dashboard.admin(view=view, **traffic.window)
                assert dashboard.page.locator('.panel[data-state="fault"]').count() == 0, view
                assert dashboard.page.evaluate("document.scrollingElement.scrollWidth") <= width, view
            assert not dashboard.faults


def test_a_filter_is_in_the_address_and_survives(dashboard: Dashboard, traffic: Traffic) -> None:
    """It is there after a reload, gone after the way back, and the figures follow."""
    dashboard.admin(**traffic.window)
    everybody = int(dashboard.figure("requests"))
    tenant = dashboard.page.get_by_label("Tenant", exact=True)
    tenant.locator("option", has_text="globex").wait_for(state="attached")
    tenant.select_option("globex")
    dashboard.settled()
    (own,) = dashboard.rows("traffic_totals", tenant="globex", **traffic.window)

    def shows(requests: int) -> bool:
        return bool(wait_for(lambda: dashboard.figure("requests") == str(requests), _WAIT_S))

    assert shows(own["requests"])
    assert 0 < own["requests"] < everybody
    assert dashboard.address == {**traffic.window, "tenant": "globex"}
    dashboard.page.reload()
    dashboard.settled()
    assert shows(own["requests"])
    assert tenant.input_value() == "globex"
    dashboard.page.go_back()
    assert shows(everybody)
    assert (dashboard.address, tenant.input_value()) == (traffic.window, "")


def test_it_works_with_the_keyboard_alone(dashboard: Dashboard, traffic: Traffic) -> None:
    """Views, charts and tables are reached by Tab, the focus is seen, and arrows read a chart's values."""
    dashboard.admin(**traffic.window)
    keys = dashboard.page.keyboard
    reached: list[str] = []
    for _ in range(5):
        keys.press("Tab")
        reached.append(dashboard.page.evaluate("document.activeElement.textContent"))
        assert dashboard.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["To the figures", "Overview", "Cost", "Latency", "Errors"]
    dashboard.page.locator("#tabs a", has_text="Latency").focus()
    keys.press("Enter")
    dashboard.settled()
    assert dashboard.address["view"] == "latency"
    assert dashboard.page.evaluate("document.activeElement.textContent") == "Latency"
    chart = dashboard.panel("latency").get_by_role("img")
    chart.focus()
    keys.press("End")
    keys.press("ArrowLeft")
    assert "UTC" in str(dashboard.panel("latency").locator(".when").text_content())
    button = dashboard.panel("latency").get_by_role("button", name="as a table")
    button.focus()
    keys.press("Space")
    assert button.get_attribute("aria-pressed") == "true"
    assert dashboard.panel("latency").get_by_role("table").locator("tbody tr").count() >= 1


def test_the_waterfall_adds_up_to_the_latency(dashboard: Dashboard, traffic: Traffic) -> None:
    """From the list to the story: every microsecond is in one piece, and the calls cost what it cost."""
    dashboard.admin(view="requests", **traffic.window)
    (row,) = dashboard.rows("request", request_id=traffic.answered)
    link = dashboard.page.locator(f'a[href*="{traffic.answered}"]').first
    link.click()
    dashboard.panel("waterfall").locator(".plot").wait_for()
    dashboard.settled()
    assert dashboard.address["request"] == traffic.answered
    said = str(dashboard.page.locator("#waterfall-sum").text_content())
    assert f"= {row['latency_ms']:,.3f} ms, the latency." in said
    assert "unaccounted" not in said
    lines = dashboard.table("waterfall")
    assert [line[0] for line in lines] == ["guardrail", "cache", "llm", "output", "cost", "the reply"]
    pieces = [float(cell.removesuffix(" ms").replace(",", "")) for line in lines for cell in line[1:4]]
    assert min(pieces) >= 0
    assert sum(pieces) == pytest.approx(row["latency_ms"], abs=0.0005 * len(pieces))
    calls = dashboard.rows("request_calls", request_id=traffic.answered)
    assert len(dashboard.table("request-calls")) == len(calls) >= 1
    assert "the cost of the request" in str(dashboard.panel("request-calls").text_content())
    dashboard.page.go_back()
    link.wait_for()


#: The stages of a request by when they were queued, begun and done, its latency, and where its time has gone.
_WATERFALLS: tuple[tuple[list[tuple[float, float, float]], float, dict[str, float]], ...] = (
    ([], 5.0, {"way": 0, "queue": 0, "work": 0, "after": 5, "all": 5}),
    ([(1, 2, 4)], 5.0, {"way": 1, "queue": 1, "work": 2, "after": 1, "all": 5}),
    # Stamped in whole milliseconds: the second one seems to wait before the first one is done.
    ([(0, 1, 2.5), (2, 3, 4)], 4.0, {"way": 0, "queue": 1.5, "work": 2.5, "after": 0, "all": 4}),
    # A stage that came again after a crash, and one that was done after the reply.
    ([(0, 1, 3), (0, 2, 6)], 5.0, {"way": 0, "queue": 1, "work": 4, "after": 0, "all": 5}),
)


def test_every_moment_counts_once(dashboard: Dashboard) -> None:
    """Gaps, overlaps and late ends: the pieces are never negative, and always the latency together."""
    dashboard.open()
    for stages, latency, expected in _WATERFALLS:
        given = [dict(zip(("queued_ms", "started_ms", "ended_ms"), each, strict=True)) for each in stages]
        sums = dashboard.page.evaluate(
            """async ([stages, latency]) => {
                const { divide } = await import("/analytics/assets/test/waterfall.js");
                return divide(stages, latency).sums;
            }""",
            [given, latency],
        )
        assert sums == pytest.approx(expected), stages


def test_a_blocked_request_names_its_rule(dashboard: Dashboard, traffic: Traffic) -> None:
    """Its story says which rule stopped it, and that no model was asked."""
    dashboard.admin(view="request", request=traffic.blocked)
    (row,) = dashboard.rows("request", request_id=traffic.blocked)
    assert f"stopped by {row['guardrail_input_rule']}" in str(dashboard.panel("facts").text_content())
    assert "No model was asked" in str(dashboard.panel("request-calls").text_content())


def test_an_old_request_is_told_as_far_as_it_is_kept(dashboard: Dashboard, traffic: Traffic) -> None:
    """Its stages and calls are gone after 90 days, and the page says so; the request is still found."""
    (row,) = dashboard.rows("request", request_id=traffic.answered, since="450d")
    old = {**row, "accepted_at": f"{datetime.now(UTC) - timedelta(days=300):%Y-%m-%dT%H:%M:%S.%fZ}"}

    def answer(route: Any) -> None:
        address = urlsplit(route.request.url)
        kept = "/queries/request/" in address.path
        (since,) = parse_qs(address.query).get("since", ["90d"])
        route.fulfill(json={"rows": [old] if kept and int(since.removesuffix("d")) > 300 else []})

    dashboard.page.route("**/v1/analytics/queries/*/rows?*", answer)
    dashboard.admin(view="request", request=traffic.answered)
    assert traffic.answered in str(dashboard.panel("facts").text_content())
    assert "stages are kept for 90 days" in str(dashboard.panel("waterfall").text_content())
    assert "calls are kept for 90 days" in str(dashboard.panel("request-calls").text_content())


def test_rows_of_one_name_and_time_add_up(dashboard: Dashboard) -> None:
    """A model of two providers is one bar, and its table has the sum."""
    dashboard.open()
    rows = [
        {"time": f"1970-01-01T00:0{minute}:00Z", "key": key, "cost_usd": usd}
        for minute, key, usd in ((0, "a", 1), (0, "a", 2), (0, "b", 7), (2, "a", 4))
    ]
    shown = dashboard.page.evaluate(
        """async (rows) => {
            const { apart } = await import("/analytics/assets/test/content.js");
            const window = { sinceS: 0, untilS: 180, bucketS: 60 };
            const key = (row) => row.key;
            return apart({ title: "Cost", rows, window, key, column: "cost_usd", unit: "usd" }).table;
        }""",
        rows,
    )
    assert [each["title"] for each in shown["columns"][1:]] == ["a", "b"]
    assert [(each["c0"], each["c1"]) for each in shown["rows"]] == [(3, 7), (4, 0)]


def test_dark_and_light(browser: Any, healthy: System, traffic: Traffic) -> None:
    """As the system says, until the switch says otherwise; the choice outlives a reload."""
    backs = {}
    for look in ("light", "dark"):
        with browser.new_context(color_scheme=look) as context:
            dashboard = Dashboard(context.new_page(), healthy)
            dashboard.admin(**traffic.window)
            back = "getComputedStyle(document.body).backgroundColor"
            backs[look] = dashboard.page.evaluate(back)
            dashboard.page.get_by_role("button", name="Dark").click()
            backs[f"not {look}"] = dashboard.page.evaluate(back)
            dashboard.page.reload()
            assert dashboard.page.evaluate(back) == backs[f"not {look}"]
            assert not dashboard.faults
    assert backs["light"] == backs["not dark"] != backs["dark"] == backs["not light"]


def test_a_time_of_its_own_and_a_time_without_requests(dashboard: Dashboard, traffic: Traffic) -> None:
    """A time that is typed in goes to the address; where nothing was, the page says so in words."""
    dashboard.admin(**traffic.window)
    dashboard.page.get_by_label("From, UTC").fill("2026-01-01T00:00")
    dashboard.page.get_by_label("To, UTC").fill("2026-01-02T12:30")
    dashboard.page.get_by_role("button", name="Show").click()
    dashboard.page.get_by_text("No requests in this time").wait_for()
    assert dashboard.address == {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T12:30:00Z"}
    dashboard.settled()
    assert dashboard.panel("volume").get_attribute("data-state") == "empty"
    dashboard.page.get_by_label("Time", exact=True).select_option("1h")
    dashboard.page.locator('[data-figure="requests"]').wait_for()
    assert dashboard.address == {"range": "1h"}


def test_a_tenant_sees_its_own_and_how_fresh_it_is(dashboard: Dashboard, traffic: Traffic) -> None:
    """With a tenant's key: its requests alone, and of the pipeline no other tenants' figures."""
    dashboard.open(key=GLOBEX_KEY, **traffic.window)
    (own,) = dashboard.rows("traffic_totals", tenant="globex", **traffic.window)
    assert dashboard.figure("requests") == str(own["requests"])
    shown = dashboard.panel("live").locator("[data-figure]")
    assert {shown.nth(at).get_attribute("data-figure") for at in range(shown.count())} == {
        "sink_lag",
        "freshness_s",
        "rollups_behind_s",
    }
    dashboard.open(key=GLOBEX_KEY, view="request", request=traffic.answered)
    assert "There is no request of this id" in str(dashboard.panel("facts").text_content())


def test_budgets_stand_beside_the_days(dashboard: Dashboard, traffic: Traffic) -> None:
    """How much of each is spent, for the eye and in words."""
    budget = {"tenant": "acme", "daily_usd": 4, "spent_usd": 1, "share": 0.25, "day": "2026-11-21"}
    dashboard.page.route("**/v1/analytics/budgets", lambda route: route.fulfill(json={"budgets": [budget]}))
    dashboard.admin(view="cost", **traffic.window)
    meter = dashboard.page.get_by_role("meter", name="acme: $1.00 of $4.00 (25.0 %) on 2026-11-21")
    assert meter.get_attribute("value") == "0.25"
