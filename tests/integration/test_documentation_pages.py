"""The documentation on the server: each page, each link between pages, and nothing that the policy forbids."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urljoin

import pytest
from api_server import ApiServer

from web.services.presentation import documentation

ADDRESS = re.compile(r"<article.*</article>", re.DOTALL)


@pytest.fixture
def shown(api: ApiServer) -> dict[str, str]:
    """Return the articles by address, as seen without a login."""
    client = api.app.test_client()
    result = {}
    for name in documentation.map_titles_by_name():
        answer = client.get(f"/docs/{name}/")
        assert answer.status_code == 200
        found = ADDRESS.search(answer.text)
        assert found is not None
        result[f"/docs/{name}/"] = found[0]
    return result


def test_every_link_leads_to_a_page_and_to_one_of_its_headings(shown: dict[str, str]) -> None:
    ids = {path: set(re.findall(r' id="([^"]+)"', text)) for path, text in shown.items()}
    walked = 0
    for path, text in shown.items():
        for href in map(unescape, re.findall(r'href="([^"]+)"', text)):
            target, _, anchor = urljoin(path, href).partition("#")
            if not href.startswith("http"):
                assert target in shown, (path, href)
                assert not anchor or anchor in ids[target], (path, href)
                walked += 1
    assert walked > 50


def test_pages_have_tables_and_code_and_nothing_that_the_policy_forbids(shown: dict[str, str]) -> None:
    for path, text in shown.items():
        assert " style=" not in text, path
        assert "<img" not in text, path
        assert "```" not in text, path
    assert "<table" in shown["/docs/executions/"]
    assert (
        shown["/docs/steps/"].count("<pre")
        == shown["/docs/steps/"].count('</pre>\n<button type="button" class="copy">')
        > 0
    )


def test_the_first_page_is_where_one_begins_and_an_unknown_one_is_not_found(api: ApiServer) -> None:
    client = api.app.test_client()
    assert client.get("/docs/").location == "/docs/first-steps/"
    assert client.get("/docs/none/").status_code == 404
    assert client.get("/docs/..%2Fpyproject/").status_code == 404
