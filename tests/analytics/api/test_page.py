"""The analysts' page: who gets it, how, and what is not in it."""

import base64
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from analytics import app as app_module
from analytics.app import CHART_FILES, files_of_page, page_router, page_version
from analytics.reports.catalogue import Catalogue
from tests.analytics.api.analysts import app_of, client_of

WEB = Path(__file__).parents[3] / "analytics" / "web"
OWN = sorted(path.name for path in WEB.iterdir())
FILES = sorted([*OWN, *CHART_FILES])
SCRIPTS = [name for name in OWN if name.endswith(".js")]
MAX_PAGE_BYTES = 70_000
"""All of it on the wire, of which a third is the charting library."""


def url(name: str, version: str = page_version(files_of_page())) -> str:
    return "/analytics" if name == "index.html" else f"/analytics/assets/{version}/{name}"


def source(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


SERVED = {file.name: file for file in files_of_page()}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The application; no test changes it."""
    return app_of(Catalogue.load())


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with client_of(app, key=None) as http:
        yield http


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_served_without_a_key(browser: httpx.AsyncClient, name: str) -> None:
    """As what it is, under a policy that lets nothing run or load but these files."""
    response = await browser.get(url(name))
    served = SERVED[name]
    body = served.body.replace(b"/assets/", b"/assets/" + page_version(list(SERVED.values())).encode() + b"/")
    assert (response.status_code, response.content) == (200, body if name == "index.html" else served.body)
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert response.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"].split("; ")
    assert {
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "trusted-types 'none'",
    } <= set(policy)
    assert "unsafe" not in " ".join(policy)


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_is_kept_is_not_sent_again(browser: httpx.AsyncClient, name: str) -> None:
    """The page is asked about each time, so that an upgrade shows at once; its parts are kept for good."""
    first = await browser.get(url(name))
    kept = "no-cache" if name == "index.html" else "public, max-age=31536000, immutable"
    assert first.headers["cache-control"] == kept
    again = await browser.get(url(name), headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    other = await browser.get(url(name), headers={"If-None-Match": 'W/"other"'})
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


async def test_a_part_of_another_version_is_not_kept(browser: httpx.AsyncClient) -> None:
    """While replicas are upgraded one after the other, a page may ask the wrong one for its parts."""
    response = await browser.get(url("app.js", version="0123456789ab"))
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-cache")


async def test_who_takes_no_gzip_gets_none(browser: httpx.AsyncClient) -> None:
    """The same page, longer; caches on the way are told what it depends on."""
    plain = await browser.get("/analytics", headers={"Accept-Encoding": "identity"})
    zipped = await browser.get("/analytics", headers={"Accept-Encoding": "br, gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert plain.text == zipped.text
    for response in (plain, zipped):
        assert set(response.headers["vary"].split(", ")) == {"Accept-Encoding"}


async def test_the_address_alone_leads_to_the_page(browser: httpx.AsyncClient) -> None:
    """Who opens what `headrace up` prints gets there; HEAD has the headers of GET."""
    assert (await browser.get("/")).headers["location"] == "/analytics"
    head, got = await browser.head("/analytics"), await browser.get("/analytics")
    assert (head.status_code, head.headers["etag"]) == (200, got.headers["etag"])


@pytest.mark.parametrize(
    "path",
    [
        "/analytics/assets/",
        "/analytics/assets/app.js",
        "/analytics/assets/1/nothing.js",
        "/analytics/assets/1/../../app.py",
        "/analytics/assets/%2e%2e/app.py",
        "/analytics/index.html",
    ],
)
async def test_nothing_else_is_served(browser: httpx.AsyncClient, path: str) -> None:
    """Only what is in the folder is."""
    assert (await browser.get(path)).status_code == 404


async def test_the_page_is_not_in_the_description_of_the_api(browser: httpx.AsyncClient) -> None:
    """The OpenAPI document is about the routes for programs."""
    paths = (await browser.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path in {"/", "/analytics"} or "assets" in path]


def test_the_whole_page_is_small() -> None:
    """All files together, zipped, are less than a picture."""
    assert sum(len(file.zipped) for file in files_of_page()) < MAX_PAGE_BYTES
    assert all(gzip.decompress(file.zipped) == file.body for file in files_of_page())


# ── the charting library ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", CHART_FILES)
def test_the_page_runs_no_other_library_than_the_one_it_names(name: str) -> None:
    """The hash in the page is that of the installed file: a browser takes it, and would take no other."""
    (file,) = (each for each in files_of_page() if each.name == name)
    digest = base64.b64encode(hashlib.sha256(file.body).digest()).decode()
    assert f'{name}" integrity="sha256-{digest}"' in source("index.html")
    if name.endswith(".js"):
        assert file.body.startswith(b"/*! https://github.com/leeoniya/uPlot (v1.6.31) */")


def test_without_the_library_the_rest_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are then tables; the sink beside the page does not care."""

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(app_module, "distribution", missing)
    assert [file.name for file in files_of_page()] == OWN
    assert page_router().routes


# ── what is in the files ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", OWN)
def test_the_page_needs_nothing_from_elsewhere(name: str) -> None:
    """It works without internet access."""
    addresses = re.findall(r"""https?://[^\s"')]+|["'(]//[^\s"')]+""", source(name))
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # a name of XML, which nobody fetches


def test_everything_that_is_named_is_there() -> None:
    """Files in the page and in the scripts, all scripts loaded at once, and the elements they look for."""
    html = source("index.html")
    wanted = set(re.findall(r'(?:href|src)="/analytics/assets/([^"]+)"', html))
    assert wanted | {"index.html"} == set(FILES)
    scripts = "".join(map(source, SCRIPTS))
    assert set(re.findall(r'from "\./([^"]+)"', scripts)) | {"app.js"} == set(SCRIPTS)
    ids = set(re.findall(r'byId\("([^"]+)"\)', scripts))
    assert ids
    assert ids <= set(re.findall(r'id="([^"]+)"', html))


def test_every_query_that_the_page_asks_is_in_the_catalogue() -> None:
    """With the parameters that the page gives it."""
    catalogue = Catalogue.load()
    asked = re.findall(r'query: "(\w+)"([^}]*\})', "".join(map(source, SCRIPTS)))
    known = {query.name: {parameter.name for parameter in query.parameters} for query in catalogue}
    assert len(asked) > 10
    for name, rest in asked:
        if name == "alerts" and name not in known:
            continue
        assert name in known, name
        wanted = {"model", "prompt_template", "prompt_version", "experiment"} if "ALL" in rest else set()
        wanted |= {"model"} if '["model"]' in rest or "MODEL" in rest else set()
        wanted |= {"bucket_s"} if "bucket: true" in rest else set()
        wanted |= {word for word in ("by", "limit") if re.search(rf"\b{word}:", rest)}
        assert wanted <= known[name], name


def test_nothing_runs_from_within_the_page() -> None:
    """Neither scripts nor styles nor handlers in it: the policy would not let them."""
    html = source("index.html")
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert set(re.findall(r"<script[^>]*>([^<]*)</script>", html)) == {""}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_becomes_markup_or_code(name: str) -> None:
    """Users choose their own ids, and providers their errors."""
    dangerous = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc"
    )
    assert not re.findall(dangerous, source(name))
