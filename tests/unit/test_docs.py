"""The documentation against the code: commands, settings, directives, addresses, links and names of modules."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import click
import pytest
from documentation import PAGES, ROOT, anchors, blocks, code, links, without_blocks, words

from core.config import Config
from core.login_config import LoginConfig
from core.model import TargetKind
from hooks.forges.registry import FORGES
from web.cli import main
from web.http.app import create_app
from web.services import setup
from web.services.triggers.rules.directives import OPTION, SKIP_MARK, SKIP_OPTION, TRAILER

DIRECTIVES = [*TargetKind, "parameter", "environment"]
USERS_ROUTES = ("/api/v0/", "/hooks/", "/badge/", "/git/", "/healthz")
COLUMNS = 100


def leaves(command: click.Command = main.group, path: str = "pushmill") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, f"{path} {name}")
    else:
        yield path, command


def test_every_command_and_option_is_in_the_docs() -> None:
    text = words()
    missing = [path for path, _ in leaves() if path not in text]
    assert missing == []
    # options of the server's own processes and of output are the same for all commands
    common = {"--data", "--config", "--json", "--host", "--port", "--quickstart", "--help"}
    options = {(path, option.opts[0]) for path, command in leaves() for option in command.params
               if isinstance(option, click.Option)}  # fmt: skip
    assert sorted(f"{path} {option}" for path, option in options if option not in common and option not in text) == []


def written() -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the words of every command of pushmill that README or docs show."""
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue
        lines = [line for block in blocks(page) if block.language in ("sh", "console", "ini")
                 for line in block.text.replace("\\\n", " ").splitlines()]  # fmt: skip
        for text in [*code(page), *lines]:
            line = re.sub(r"^(\$ |ExecStart=/opt/pushmill/bin/)", "", text).partition(" #")[0]
            if line.startswith("pushmill "):
                yield page.name, shlex.split(re.split(r" [|<>&]", line)[0])


@pytest.mark.parametrize(("page", "line"), list(written()))
def test_every_command_that_the_docs_show_exists_with_its_options(page: str, line: list[str]) -> None:
    command: click.Command = main.group
    rest = iter(line[1:])
    for word in rest:
        context = click.Context(command)
        if word.startswith("--"):
            options = {
                name: option
                for option in command.get_params(context)
                for name in (*option.opts, *option.secondary_opts)
            }
            assert word in options, f"{page}: {' '.join(line)}"
            if not getattr(options[word], "is_flag", False):
                next(rest, None)
        elif isinstance(command, click.Group):
            assert word in command.list_commands(context), f"{page}: {' '.join(line)}"
            found = command.get_command(context, word)
            assert found is not None
            command = found


def settings(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the settings of a page: `[section] key`, rows of a table with the head `[section]`, and TOML blocks."""
    section = ""
    for line in without_blocks(page):
        if head := re.match(r"\| `\[(\w+)\]` \|", line):
            section = head.group(1)
        elif not line.startswith("|"):
            section = ""
        elif section:
            spans = re.findall(r"`([^`]*)`", line.split("|")[1])
            yield from ((section, name) for span in spans for name in re.findall(r"\w+", span.split("=")[0]))
    prose = " ".join(" ".join(without_blocks(page)).split())
    for match in re.finditer(r"`\[(\w+)\] ([^`]*)`((?:(?:,| and|, and| or) `[a-z_]+`)*)", prose):
        yield from ((match[1], name) for name in re.findall(r"\w+", match[2].split("=")[0] + match[3]))
    for block in blocks(page):
        if block.language == "toml" and "[[" not in block.text:
            for section, values in tomllib.loads(block.text).items():
                named = next(iter(values.values())) if section == "login" else values  # [login.NAME]
                yield from ((section, key) for key in named)


def test_every_setting_is_in_the_docs() -> None:
    config = Config(data=Path("/nowhere"))
    sections = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "data"}
    sections["login"] = LoginConfig()
    every = {(name, field.name) for name, section in sections.items() for field in fields(section)}
    found = {setting for page in PAGES if page.parent.name == "docs" for setting in settings(page)}
    assert sorted(every - found) == []


def test_every_push_option_and_trailer_is_in_the_docs() -> None:
    text = words()
    for name in DIRECTIVES:
        assert OPTION.match(f"pushmill.{name}=x")
        assert TRAILER.match(f"Pushmill-{name}: x")
        assert f"-o pushmill.{name}=" in text
        assert f"Pushmill-{name.capitalize()}: " in text
    assert f"-o {SKIP_OPTION}" in text
    for mark in ("[skip ci]", "[ci skip]", "[no ci]", "[skip pushmill]"):
        assert SKIP_MARK.search(mark)
        assert f"`{mark}`" in text


def test_every_address_for_users_is_in_the_docs(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    config = replace(config, redis=replace(config.redis, url="redis://127.0.0.1:1"))
    setup.prepare(config)
    page = (ROOT / "docs" / "api.md").read_text()
    places = {"<identifier>": r"(ID|PROJECT|SHA|NAME|UUID)", "<project>": "PROJECT", "<name>": "NAME",
              "<project_name>": "NAME", "<forge_name>": "FORGE", "<any(svg, json):form>": "(svg|json)"}  # fmt: skip
    missing = []
    for rule in create_app(config).url_map.iter_rules():
        if not rule.rule.startswith(USERS_ROUTES) or "//" in rule.rule:
            continue
        path = rule.rule.removeprefix("/api/v0/")
        path = re.sub(r"(?<=\.git)/.*", "", path)  # git's own protocol and that of Git LFS
        pattern = re.escape(path)
        for place, shown in places.items():
            pattern = pattern.replace(re.escape(place), shown)
        if not re.search(rf"`((GET|POST|DELETE) )?(/api/v0/)?{pattern}`", page):
            missing.append(rule.rule)
    assert missing == []


def test_every_forge_is_in_the_docs() -> None:
    text = words()
    assert [name for name in FORGES if f"`{name}`" not in text and f"--forge {name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_of_docs_is_in_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert [page.name for page in PAGES if page.parent.name == "docs" and f"docs/{page.name}" not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_prose_are_short(page: Path) -> None:
    long = [line for line in without_blocks(page) if len(line) > COLUMNS and "|" not in line and "](http" not in line]
    assert long == []


def modules(text: str) -> Iterator[str]:
    """Yield the modules that a text names: `web/store/db.py`, `web.http.git`, or `services.forges` for web.services."""
    yield from re.findall(r"\b(?:web|core|hooks|runner|tests|benchmarks)/[\w/.*-]*\w", text)
    for name in re.findall(r"\b(?:web|core|hooks|runner|services)(?:\.\w+)+", text):
        if not name.endswith((".toml", ".py")):
            yield ("web." * name.startswith("services.") + name).replace(".", "/")


def exists(name: str) -> bool:
    """Return whether there is such a file, package or module, or a function or class of that name in one."""
    path, _, member = name.partition(":")
    if any(ROOT.glob(path)) or (ROOT / f"{path}.py").exists():
        return not member or re.search(rf"\b{member}\b", (ROOT / path).read_text()) is not None
    parent, _, last = path.rpartition("/")
    module = ROOT / f"{parent}.py"
    return (
        module.exists() and re.search(rf"^(def|class) {last}\b|^{last}\b", module.read_text(), re.MULTILINE) is not None
    )


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_module_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(modules(text))
    assert len(named) > 5
    assert sorted(name for name in named if "NAME" not in name and not exists(name)) == []


def test_every_name_in_a_section_of_a_room_is_found_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    missing = []
    for section in text.split("\n### ")[1:]:
        heading, _, body = section.partition("\n")
        first = re.split(r",| and ", heading)[0].strip()
        parents = {first.rpartition("/")[0], ""}
        rooms = [ROOT / parent / name.strip() for name in re.split(r",| and ", heading) for parent in parents]
        sources = [path for room in rooms for path in room.rglob("*.py")]
        assert sources, heading
        names = {path.stem for path in sources} | {path.parent.name for path in sources}
        content = "\n".join(path.read_text() for path in sources)
        for span in re.findall(r"`([\w*]+)/?`", body):
            found = any(re.fullmatch(span.replace("*", r"\w*"), name) for name in names)
            if not found and not re.search(rf"\b{re.escape(span)}\b", content):
                missing.append(f"{heading}: {span}")
    assert missing == []


def test_the_architecture_is_read_in_one_sitting() -> None:
    assert len((ROOT / "docs" / "architecture.md").read_text().splitlines()) <= 200


# pages that quote the labels of forges, too
QUOTING_FORGES = {"pushing.md", "statuses.md"}
# sentences with values, which no file contains as they stand
EXAMPLES = re.compile(r"2 of 2 executions|[Nn]o runner of environment|Needs 2 GPUs|Trial 3 of 8")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.parent.name == "docs" and page.name not in QUOTING_FORGES],
    ids=lambda page: page.name,
)
def test_every_label_in_italics_is_on_a_page(page: Path) -> None:
    sources = [*ROOT.glob("templates/*.html"), *ROOT.glob("web/**/*.py")]
    shown = " ".join(" ".join(path.read_text().split()) for path in sources)
    prose = re.sub(r"`[^`]*`", "", " ".join(" ".join(without_blocks(page)).split())).replace("**", "")
    labels = {label.strip() for text in re.findall(r"\*([^*|]+)\*", prose) for label in text.split("→")}
    assert sorted(label for label in labels if label not in shown and not EXAMPLES.match(label)) == []
