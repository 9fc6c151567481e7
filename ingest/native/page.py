"""`/`: the chat page, from files of this package. It needs no key: it asks its user for one."""

from importlib.resources import files

from fastapi import APIRouter

from streams.serving.page_files import PageFile, page_files, sender


def files_of_page() -> tuple[PageFile, ...]:
    """Read the files of the page."""
    return page_files(files("ingest").joinpath("web"))


def page_router() -> APIRouter:
    """Return the routes of the page: `/` is `index.html`, and its parts are under `/static/`.

    There is one route a file, so no path from outside ever becomes a path on the disk.
    """
    router = APIRouter(include_in_schema=False)
    for file in files_of_page():
        path = "/" if file.name == "index.html" else f"/static/{file.name}"
        router.add_api_route(path, sender(file), methods=["GET", "HEAD"])
    return router
