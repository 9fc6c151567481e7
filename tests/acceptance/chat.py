"""The chat page as its user sees it, through Playwright, and the fixtures of the tests that use it."""

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.conftest import System

WAIT_MS = 20_000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WRITING = '.turn[data-state="streaming"]'
STORY = " ".join(["The river drives the mill, and the mill grinds the corn."] * 6)
#: Some eighty tokens, in six seconds.
SLOWLY: dict[str, Any] = {
    "latency": {"first_token_ms": 100, "tokens_per_second": 14},
    "answers": [{"text": STORY}],
}


class Chat:
    """The page as its user sees it."""

    def __init__(self, page: Any, system: System) -> None:
        self.page = page
        self.system = system
        self.requests: list[Any] = []
        self.faults: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("request", self._note)  # Playwright takes no methods of built-in types
        page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        page.on("console", lambda line: self.faults.append(line.text) if "Policy" in line.text else None)

    def _note(self, request: Any) -> None:
        self.requests.append(request)

    def open(self, key: str | None = None) -> None:
        """Go to the page, with the address that `headrace up` prints, or without a key."""
        fragment = f"#key={quote(key, safe='')}" if key else ""
        self.page.goto(f"{self.system.endpoints.ingest}/{fragment}")

    def ask(self, question: str) -> None:
        """Type a question and send it as most people do."""
        self.page.get_by_label("Message").fill(question)
        self.page.keyboard.press("Enter")

    def until(self, state: str, *, turn: int = -1) -> None:
        """Wait until a turn is in this state: the last one, or that of this number."""
        self.page.locator(".turn").nth(turn).and_(
            self.page.locator(f'.turn[data-state="{state}"]')
        ).wait_for()

    def part(self, selector: str) -> str:
        """The text of a part of the last turn."""
        return str(self.page.locator(".turn").last.locator(selector).text_content())

    @property
    def answer(self) -> str:
        """What is shown of the last answer."""
        return "\n".join(self.page.locator(".turn").last.locator(".answer > *").all_text_contents())

    @property
    def reply(self) -> dict[str, Any]:
        """The stored reply to the last question, from the API."""
        request_id = self.part("[data-fact=request] dd")
        return dict(self.system.http.get(f"/v1/requests/{request_id}").json())

    @property
    def streams(self) -> list[Any]:
        """Every time that the browser has opened a stream."""
        return [each for each in self.requests if "/events" in each.url]


@pytest.fixture(scope="module", name="browser")
def chromium(system: System) -> Iterator[Any]:
    """A browser, for all tests here; the system first, because Playwright's loop stays open meanwhile."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: on Debian and Ubuntu, apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="scripts/environment dev installs playwright"
    )
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox needs a user other than root, which CI has not; it sees only our own page.
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(name="empty")
def empty_page(browser: Any, healthy: System) -> Iterator[Chat]:
    """A fresh tab that has not gone anywhere; at the end it has seen no fault and nobody else's server."""
    context = browser.new_context()
    chat = Chat(context.new_page(), healthy)
    yield chat
    context.close()
    assert not chat.faults
    assert {each.url.startswith(f"{healthy.endpoints.ingest}/") for each in chat.requests} == {True}


@pytest.fixture(name="chat")
def chat_page(empty: Chat) -> Chat:
    """The page, with its key."""
    empty.open(empty.system.endpoints.api_key)
    return empty
