"""The page of control records as an operator uses it, in a browser."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.chat import chromium  # noqa: F401  # a fixture
from tests.acceptance.conftest import System, wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]

#: A change is a transaction over connections of its own: on a busy machine each step takes a second or more.
WAIT_MS = 90_000
#: A broker that does not answer in time is a 503, and the page says to try again.
TRIES = 4

TIER = "admin-page-test"


@pytest.fixture
def page(browser: Any, system: System) -> Iterator[Any]:
    """The page with the admin's key; at the end it has met no fault and asked nobody else."""
    context = browser.new_context()
    found = context.new_page()
    faults: list[str] = []
    asked: list[str] = []
    found.set_default_timeout(WAIT_MS)
    found.on("pageerror", lambda fault: faults.append(str(fault)))
    found.on("console", lambda line: faults.append(line.text) if "Policy" in line.text else None)
    found.on("request", lambda request: asked.append(request.url))
    found.goto(f"{system.endpoints.ingest}/admin")
    found.get_by_role("textbox", name="Admin key").fill(system.endpoints.admin_key)
    found.get_by_role("button", name="Use this key").click()
    yield found
    context.close()
    assert not faults
    assert {each.startswith(f"{system.endpoints.ingest}/") for each in asked} == {True}


def save(page: Any) -> None:
    """Save, again where the broker did not answer in time, until the dialog has closed."""
    error, dialog = page.locator("#edit-error"), page.locator("#edit-dialog")
    for _ in range(TRIES):
        page.get_by_role("button", name="Save").click()
        page.wait_for_function(
            "() => !document.getElementById('save').disabled"
            " && !(document.getElementById('edit-dialog').open"
            " && document.getElementById('edit-error').hidden)"
        )
        if not dialog.is_visible():
            return
        assert "try again" in (error.text_content() or "").lower()
    raise AssertionError("never saved")


def row(page: Any, name: str) -> Any:
    """The row of a record."""
    return page.locator(f'tr[data-name="{name}"]')


def test_limits_are_set_changed_and_taken_back(page: Any) -> None:
    """What is wrong is said where it is typed; the history says who and why."""
    row(page, "free").get_by_text("comes with Headrace").wait_for()
    page.get_by_role("button", name="New limit").click()
    page.get_by_role("textbox", name="Name").fill(TIER)
    page.get_by_label("What it says").fill('{"per_user": {"requests": 5}}')
    page.get_by_role("button", name="Save").click()
    page.get_by_text("unknown field `requests`").wait_for()
    page.get_by_label("What it says").fill('{"per_user": {"requests_per_minute": 5}}')
    page.get_by_role("textbox", name="Why").fill("a trial")
    save(page)
    row(page, TIER).get_by_text('"requests_per_minute": 5').wait_for()

    row(page, TIER).get_by_role("button", name="Change").click()
    page.get_by_label("What it says").fill('{"per_user": {"requests_per_minute": 9}}')
    save(page)
    row(page, TIER).get_by_text('"requests_per_minute": 9').wait_for()
    row(page, TIER).get_by_role("button", name="History").click()
    page.get_by_text("HEADRACE_ADMIN_KEY: a trial").wait_for()
    page.get_by_role("button", name="Take back the last change").click()
    row(page, TIER).get_by_text('"requests_per_minute": 5').wait_for()

    page.on("dialog", lambda dialog: dialog.accept())
    row(page, TIER).get_by_role("button", name="Remove").click()
    row(page, TIER).wait_for(state="detached")


def test_a_key_is_made_and_shown_once(page: Any, system: System) -> None:
    """It works, and is gone from the page when the operator has it."""
    page.get_by_role("button", name="key", exact=True).click()
    page.get_by_role("button", name="New key").click()
    page.get_by_label("What it says").fill(json.dumps({"tenant": TIER, "tier": "free"}))
    save(page)
    page.locator("#made").wait_for()
    key = page.locator("#made").text_content()
    address, headers = f"{system.endpoints.ingest}/v1/models", {"Authorization": f"Bearer {key}"}
    assert wait_for(lambda: httpx.get(address, headers=headers, timeout=30).status_code == 200, 30)
    page.get_by_role("button", name="I have it").click()
    assert key not in page.content()
    page.on("dialog", lambda dialog: dialog.accept())
    mine = page.locator("tr", has_text=f'"tenant": "{TIER}"')
    mine.get_by_role("button", name="Remove").click()
    mine.wait_for(state="detached")
    assert wait_for(lambda: httpx.get(address, headers=headers, timeout=30).status_code == 401, 30)


def test_a_wrong_key_is_told(page: Any, system: System) -> None:
    """A tenant's key is not the admin's."""
    page.get_by_role("button", name="Admin key").click()
    page.get_by_role("textbox", name="Admin key").fill(system.endpoints.api_key)
    page.get_by_role("button", name="Use this key").click()
    page.get_by_text("no scope 'admin'").wait_for()
