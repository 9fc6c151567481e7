"""The analytics page against hostile texts, wrong keys and outages, and how it asks."""

from typing import Any

import pytest

from tests.acceptance.chat import chromium  # noqa: F401  # a fixture
from tests.acceptance.conftest import GLOBEX_KEY, System
from tests.acceptance.dashboard import (
    HOSTILE,
    VIEWS,
    Dashboard,
    Traffic,
    analytics_page,  # noqa: F401  # a fixture
    some_traffic,  # noqa: F401  # a fixture
)

pytestmark = pytest.mark.acceptance


def test_text_from_users_stays_text(dashboard: Dashboard, traffic: Traffic) -> None:
    """A user id with markup, which the guardrail takes as any id: shown to the letter, and inert."""
    dashboard.admin(view="requests", **traffic.window)
    cell = dashboard.page.get_by_text(HOSTILE, exact=True).first
    cell.wait_for()
    dashboard.admin(view="cost", **traffic.window)
    assert any(HOSTILE in cell for row in dashboard.table("cost-by-user") for cell in row)
    dashboard.admin(view="request", request=traffic.hostile)
    assert HOSTILE in str(dashboard.panel("facts").text_content())
    assert dashboard.page.locator("main img, main script").count() == 0
    assert "taken" not in dashboard.page.title()


def test_text_from_anywhere_stays_text(dashboard: Dashboard, traffic: Traffic) -> None:
    """Even where every text in every answer is markup: names of models, errors, rules, and of filters."""

    def hostile(route: Any) -> None:
        answer = route.fetch()
        if not answer.ok:
            route.fulfill(response=answer)
            return
        body = answer.json()
        for row in body.get("rows", []):
            for name, value in row.items():
                if isinstance(value, str) and name not in {"time", "accepted_at", "kind", "request_id"}:
                    row[name] = HOSTILE
        route.fulfill(response=answer, json=body)

    dashboard.page.route("**/v1/analytics/queries/*/rows?*", hostile)
    for view in VIEWS:
        dashboard.admin(view=view, **traffic.window)
        assert dashboard.page.locator('.panel[data-state="fault"]').count() == 0, view
        assert dashboard.page.locator("main img, main script, #filters img").count() == 0, view
        assert "taken" not in dashboard.page.title()
    dashboard.admin(view="errors", **traffic.window)
    assert any(HOSTILE in cell for row in dashboard.table("errors") for cell in row)
    dashboard.page.unroute_all(behavior="ignoreErrors")  # the filters' lists may still be on their way


def test_a_wrong_key_is_said_to_be_wrong(browser: Any, healthy: System, traffic: Traffic) -> None:
    """Without a key the page asks for one; a wrong one is refused in words; the right one works."""
    with browser.new_context() as context:
        dashboard = Dashboard(context.new_page(), healthy)
        dashboard.open(**traffic.window)
        field = dashboard.page.get_by_label("API key or admin key")
        field.fill("not-a-key")
        dashboard.page.keyboard.press("Enter")
        dashboard.page.get_by_role("alert").filter(has_text="not known here").wait_for()
        field.fill(healthy.endpoints.api_key)
        dashboard.page.get_by_role("button", name="Use this key").click()
        dashboard.page.locator('[data-figure="requests"]').wait_for()
        dashboard.settled()
        (own,) = dashboard.rows("traffic_totals", tenant="default", **traffic.window)
        assert dashboard.figure("requests") == str(own["requests"])
        assert not [url for url in dashboard.urls if healthy.endpoints.api_key in url]
        assert all("401" in fault for fault in dashboard.faults), dashboard.faults


def test_another_keys_choices_never_come(dashboard: Dashboard, traffic: Traffic) -> None:
    """Lists that were asked for with the key before are broken off: its tenants are never shown."""
    holding, held = True, list[Any]()
    admin = f"Bearer {dashboard.system.endpoints.admin_key}"

    def hold(route: Any) -> None:
        mine = route.request.headers["authorization"] == admin
        if holding and ("filter_values" in route.request.url or not mine):
            held.append(route)
        else:
            route.continue_()

    dashboard.page.route("**/v1/analytics/queries/*/rows?*", hold)
    with dashboard.page.expect_request("**/queries/filter_values/rows?*"):
        dashboard.admin(**traffic.window)
    dashboard.page.get_by_role("button", name="Key", exact=True).click()
    dashboard.page.get_by_label("API key or admin key").fill(GLOBEX_KEY)
    with dashboard.page.expect_event("requestfailed", lambda request: "filter_values" in request.url):
        dashboard.page.get_by_role("button", name="Use this key").click()
    choices = dashboard.page.get_by_label("Tenant", exact=True).locator("option")
    assert choices.all_text_contents() == ["All tenants"]
    holding = False
    for route in held[1:]:  # the first one is broken off
        route.continue_()
    choices.filter(has_text="globex").wait_for(state="attached")
    assert choices.all_text_contents() == ["All tenants", "globex"]


def test_the_key_leaves_the_address(dashboard: Dashboard) -> None:
    """It is in no history, and the state beside it stays."""
    dashboard.admin(view="cost")
    assert dashboard.page.url == f"{dashboard.base}/analytics?view=cost"


def test_an_outage_is_said_and_ends(dashboard: Dashboard, traffic: Traffic) -> None:
    """While ClickHouse is away the page says so and tries again; then the figures are there."""
    away = {"error": {"message": "ClickHouse does not answer", "code": "service_unavailable"}}
    dashboard.page.clock.install()
    dashboard.page.route("**/v1/analytics/**", lambda route: route.fulfill(status=503, json=away))
    dashboard.open(key=dashboard.system.endpoints.admin_key, **traffic.window)
    banner = dashboard.page.locator("#banner")
    assert "ClickHouse does not answer" in str(banner.text_content())
    assert dashboard.panel("totals").get_attribute("data-state") == "fault"
    dashboard.page.unroute("**/v1/analytics/**")
    dashboard.page.clock.fast_forward(10_000)
    dashboard.page.locator('[data-figure="requests"]').wait_for()
    banner.wait_for(state="hidden")
    assert all("503" in fault for fault in dashboard.faults), dashboard.faults
    dashboard.faults.clear()


def test_the_pipeline_is_asked_again_only_while_somebody_looks(dashboard: Dashboard) -> None:
    """Every five seconds; not in a tab behind others; and not at all once another view is open."""
    live = f"{dashboard.base}/v1/analytics/live"
    answer = {"at": "2026-11-21T00:00:00Z", "in_flight": {"requests": 7}, "topics": [], "sink": {"lag": 3}}
    dashboard.page.route(live, lambda route: route.fulfill(json=answer))
    dashboard.page.clock.install()
    dashboard.admin()

    def asked() -> int:
        return dashboard.urls.count(live)

    assert (asked() >= 1, dashboard.figure("in_flight", "live")) == (True, "7")
    with dashboard.page.expect_request(live):
        dashboard.page.clock.fast_forward(5_000)
    dashboard.settled()
    dashboard.page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })"
    )
    before = asked()
    dashboard.page.clock.fast_forward(30_000)
    dashboard.page.evaluate("delete document.hidden")
    assert asked() == before
    dashboard.page.locator("#tabs a", has_text="Cost").click()
    dashboard.settled()
    before = asked()
    dashboard.page.clock.fast_forward(30_000)
    dashboard.page.evaluate("0")  # what was sent until here has been told
    assert asked() == before


def test_no_more_questions_at_once_than_the_server_answers(dashboard: Dashboard, traffic: Traffic) -> None:
    """Two at a time, the same one once, and those of a view that was left are not asked any more."""
    running: list[str] = []
    most = 0

    def begun(request: Any) -> None:
        nonlocal most
        if "/queries/" in request.url:
            running.append(request.url)
            most = max(most, len(running))

    def ended(request: Any) -> None:
        if request.url in running:
            running.remove(request.url)

    dashboard.page.on("request", begun)
    dashboard.page.on("requestfinished", ended)
    dashboard.page.on("requestfailed", ended)
    dashboard.admin(**traffic.window)
    assert most == 2
    names = [url.partition("/queries/")[2].partition("/")[0] for url in dashboard.urls if "/queries/" in url]
    assert names.count("traffic_series") == 1
    assert names[0] == "traffic_totals"
