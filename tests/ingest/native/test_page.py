"""The chat page and the admin page: who gets them, how, and what is not in them."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ingest.main import create_app
from ingest.native.chat import files_of_page
from tests.ingest.fakes import Rig

WEB = Path(__file__).parents[3] / "ingest" / "web"
FILES = sorted(path.name for path in WEB.iterdir())
SCRIPTS = [name for name in FILES if name.endswith(".js")]
MAX_PAGE_BYTES = 30_000


PAGES = {"index.html": "/", "admin.html": "/admin"}


def url(name: str) -> str:
    return PAGES.get(name, f"/static/{name}")


def source(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


@pytest.fixture
async def browser(wired: Rig) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    transport = httpx.ASGITransport(create_app(wired.services))
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as http:
        yield http


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_served_without_a_key(browser: httpx.AsyncClient, name: str) -> None:
    """As what it is, under a policy that lets nothing run or load but these files."""
    response = await browser.get(url(name))
    assert (response.status_code, response.text) == (200, source(name))
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert response.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"].split("; ")
    assert {
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "trusted-types 'none'",
    } <= set(policy)
    assert "unsafe" not in " ".join(policy)


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_is_kept_is_not_sent_again(browser: httpx.AsyncClient, name: str) -> None:
    """It is asked about each time, so that an upgrade shows at once; 304 where it has not changed."""
    first = await browser.get(url(name))
    assert first.headers["cache-control"] == "no-cache"
    again = await browser.get(url(name), headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    other = await browser.get(url(name), headers={"If-None-Match": 'W/"other"'})
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


async def test_who_takes_no_gzip_gets_none(browser: httpx.AsyncClient) -> None:
    """The same page, longer; caches on the way are told what it depends on."""
    plain = await browser.get("/", headers={"Accept-Encoding": "identity"})
    zipped = await browser.get("/", headers={"Accept-Encoding": "br, gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert plain.text == zipped.text
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"


async def test_head_has_the_headers_alone(browser: httpx.AsyncClient) -> None:
    """As probes and link checkers ask."""
    head, got = await browser.head("/"), await browser.get("/")
    assert (head.status_code, head.headers["etag"]) == (200, got.headers["etag"])


@pytest.mark.parametrize(
    "path", ["/static/", "/static/nothing.js", "/static/../app.py", "/static/%2e%2e/app.py", "/index.html"]
)
async def test_nothing_else_is_served(browser: httpx.AsyncClient, path: str) -> None:
    """Only what is in the folder is."""
    assert (await browser.get(path)).status_code == 404


async def test_the_page_is_not_in_the_description_of_the_api(browser: httpx.AsyncClient) -> None:
    """`/docs` is about the routes for programs."""
    paths = (await browser.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path in PAGES.values() or path.startswith("/static")]


def test_both_pages_are_small() -> None:
    """Less than 30 kB on the wire, all files together."""
    assert sum(len(file.zipped) for file in files_of_page()) < MAX_PAGE_BYTES
    assert all(gzip.decompress(file.zipped) == file.body for file in files_of_page())


# ── what is in the files ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FILES)
def test_the_page_needs_nothing_from_elsewhere(name: str) -> None:
    """It works without internet access."""
    addresses = re.findall(r"""https?://[^\s"')]+|["'(]//[^\s"')]+""", source(name))
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # a name of XML, which nobody fetches


def test_everything_that_is_named_is_there() -> None:
    """Files in the page and in the scripts, and the elements that the scripts look for."""
    found = set(PAGES)
    for page in PAGES:
        html = source(page)
        wanted = set(re.findall(r'(?:href|src)="/static/([^"]+)"', html))
        scripts = {name for name in wanted if name.endswith(".js")}
        for name in scripts:
            wanted |= set(re.findall(r'from "\./([^"]+)"', source(name)))
        ids = set(re.findall(r'BY_ID\("([^"]+)"\)', "".join(map(source, scripts))))
        assert ids
        assert ids <= set(re.findall(r'id="([^"]+)"', html))
        found |= wanted
    assert found == set(FILES)


@pytest.mark.parametrize("page", PAGES)
def test_nothing_runs_from_within_a_page(page: str) -> None:
    """Neither scripts nor styles nor handlers in it: the policy would not let them."""
    html = source(page)
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", html) == [""]


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_becomes_markup_or_code(name: str) -> None:
    """Models write what they like."""
    dangerous = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc"
    )
    assert not re.findall(dangerous, source(name))
