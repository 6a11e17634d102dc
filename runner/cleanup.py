"""Removes what this runner no longer needs: stray containers, left-overs, cache above its budget, unused images.

Only objects with this runner's label, files in its directory and images on its list of pulled images are touched: on a
shared Docker everything else belongs to other users. One cleanup runs at a time. If a cleanup is killed, the next one
removes what it had moved to `cache/gone`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core import trees
from core.locks import hold
from core.units import format_size
from runner import checkout, quarantine, sandbox
from runner.containers import firewall, images
from runner.host import Host, get_free_disk, protect
from runner.inputs import cache
from runner.state_dir import locked, read_json, write_json

log = logging.getLogger(__name__)

LEFTOVER_S = 3600.0  # age of an incomplete execution directory that no process holds
DOWNLOAD_LEFTOVER_S = 86_400.0  # since the last write to a download; its total duration is not limited
PRESSED_IMAGE_AGE_S = 86_400.0  # when the disk is full, images unused for this long are removed


def clean(host: Host) -> None:
    """Remove everything that is due, unless another process is already doing so."""
    with hold(host.directory / "cleanup.lock", wait=False) as ours:
        if ours:
            _Cleanup(host, pressed=False).run()


def make_room(host: Host) -> None:
    """Clean up on a disk with less than min_free_disk: least recently used files go until that much is free."""
    with hold(host.directory / "cleanup.lock"):
        if _is_short(host):  # otherwise the cleanup that we waited for has freed enough
            _Cleanup(host, pressed=True).run()


def remove_containers(host: Host, execution: str) -> None:
    """Remove every container of an execution. The caller holds the execution's lock."""
    for found in host.engine.managed(host.runner_id):
        if found.execution == execution:
            host.engine.remove(found.container_id)


def _is_short(host: Host) -> bool:
    return get_free_disk(host.directory) < host.settings.min_free_disk


@dataclass(frozen=True, kw_only=True)
class _Cached:
    """An entry of the cache. `remove` returns whether it was removed."""

    what: str
    path: Path
    used_at: float
    size: int
    remove: Callable[[], bool]


class _Cleanup:
    """One pass. `pressed` means that it has to free disk space."""

    def __init__(self, host: Host, *, pressed: bool) -> None:
        self._host, self._cache, self._pressed = host, host.cache, pressed
        self._now = time.time()
        self._removed: Counter[str] = Counter()
        self._bytes = 0

    def run(self) -> None:
        for part in (
            self._set_aside_before,
            self._strays,
            self._directories,
            self._files,
            self._images,
            self._firewall,
        ):
            try:
                part()
            except Exception:  # a failure of one part must not prevent the others
                log.exception("cleanup: %s", part.__name__.strip("_"))
        if self._removed:
            what = ", ".join(f"{name} ({count})" for name, count in self._removed.items())
            log.info("cleanup removed %s: %s", what, format_size(self._bytes))

    def _note(self, what: str, size: int = 0, count: int = 1) -> None:
        if count:
            self._removed[what] += count
            self._bytes += size

    def _set_aside_before(self) -> None:
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._note("quarantined directories", count=quarantine.retry(self._host.directory))
        quarantine.remove(self._host.directory, self._cache / "gone")

    def _strays(self) -> None:
        """Remove containers without an execution directory, and volumes of containers that others removed.

        The directory of an execution is created before its container and removed after it. So if a container is listed
        first and its directory is missing afterwards, it belongs to no execution.
        """
        for found in self._host.engine.managed(self._host.runner_id):
            if not (self._host.executions / found.execution).exists():
                self._host.engine.remove(found.container_id)
                self._note("stray containers")
        strays = sandbox.remove_strays(self._host.engine, self._host.runner_id, self._host.directory)
        self._note("stray network sandboxes", count=strays)
        self._note("volumes", count=self._host.engine.prune_volumes(self._host.runner_id))

    def _directories(self) -> None:
        """Remove execution directories that cannot be adopted; the others wait for a slot."""
        for directory in _entries(self._host.executions):
            with contextlib.suppress(FileNotFoundError):
                young = directory.stat().st_mtime > self._now - LEFTOVER_S
                if young or ((directory / "state.json").exists() and (directory / "spool").exists()):
                    continue
                with locked(directory) as ours:
                    if ours:
                        size = trees.measure_size(directory)
                        remove_containers(self._host, directory.name)
                        quarantine.remove(self._host.directory, directory)
                        self._note("execution directories", size)

    def _files(self) -> None:
        """Remove cache entries unused for cache_age; over budget or on a full disk also the least recently used."""
        settings = self._host.settings
        self._temporaries()
        found = [*self._trees(), *self._repositories(), *self._inputs()]
        total = sum(item.size for item in found)
        oldest = self._now - settings.cache_age
        for item in sorted(found, key=lambda item: item.used_at):
            if item.used_at >= oldest and total <= settings.cache and not (self._pressed and _is_short(self._host)):
                break
            if item.remove():
                total -= item.size
                self._note(item.what, item.size)
        self._records()

    def _trees(self) -> Iterator[_Cached]:
        """Yield the cached trees. A tree never changes, so it is measured once; sizes.json in the cache keeps sizes."""
        file = self._cache / "sizes.json"
        before, sizes = read_json(file) or {}, {}
        mounted = {_name(tree) for tree in self._host.engine.lower_layers(self._host.runner_id)}
        for tree in [tree for project in _entries(self._cache / "trees") for tree in _entries(project)]:
            if not tree.name.startswith("."):
                name = _name(tree)
                size = sizes[name] = before[name] if name in before else trees.measure_size(tree)
                take = self._tree_remover(tree, mounted)
                yield _Cached(what="commits", path=tree, used_at=tree.stat().st_mtime, size=size, remove=take)
        write_json(file, sizes)

    def _tree_remover(self, tree: Path, mounted: set[str]) -> Callable[[], bool]:
        def take() -> bool:
            with hold(checkout.get_lock_path(self._cache)):  # nobody creates a mark meanwhile, see checkout.mark_used
                if _name(tree) in mounted | _marked(self._host.executions):
                    return False
                aside = self._set_aside(tree)
                checkout.forget_notes(tree)
            quarantine.remove(self._host.directory, aside)
            return True

        return take

    def _repositories(self) -> Iterator[_Cached]:
        for path in _entries(self._cache / "git"):
            if path.suffix == ".git":
                take = self._repository_remover(path)
                used_at, size = path.stat().st_mtime, trees.measure_size(path)
                yield _Cached(what="git caches", path=path, used_at=used_at, size=size, remove=take)

    def _repository_remover(self, path: Path) -> Callable[[], bool]:
        def take() -> bool:
            with hold(checkout.get_repository_lock_path(self._cache, path.stem), wait=False) as free:
                if not free:
                    return False
                aside = self._set_aside(path)
            quarantine.remove(self._host.directory, aside)
            return True

        return take

    def _inputs(self) -> Iterator[_Cached]:
        """Yield the cached inputs. Safe to remove: readers have the file open, and others download it again."""
        for path in _entries(self._cache / "inputs"):
            if path.suffix == cache.CONTENT:
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    size, used_at = found.st_blocks * 512, found.st_mtime
                    take = _unlinker(path)
                    yield _Cached(what="inputs", path=path, used_at=used_at, size=size, remove=take)

    def _records(self) -> None:
        """Remove the input cache's records of contents that are gone."""
        directory = self._cache / "inputs"
        for record in directory.glob(f"*{cache.RECORD}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                sha256 = json.loads(record.read_text(encoding="utf-8"))["sha256"]
                if not (directory / f"{sha256}{cache.CONTENT}").exists():
                    record.unlink()

    def _temporaries(self) -> None:
        """Remove partial trees of projects whose repository is not in use, and partial inputs unchanged for a day."""
        for project in _entries(self._cache / "trees"):
            with hold(checkout.get_repository_lock_path(self._cache, project.name), wait=False) as free:
                aside = [self._set_aside(tree) for tree in project.glob(f"{checkout.TEMPORARY}*")] if free else []
            for place in aside:
                self._note("half trees", trees.measure_size(place))
                quarantine.remove(self._host.directory, place)
        for file in (self._cache / "inputs").glob(f"{cache.TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                found = file.stat()
                if found.st_mtime < self._now - DOWNLOAD_LEFTOVER_S:
                    file.unlink()
                    self._note("half inputs", found.st_blocks * 512)

    def _set_aside(self, path: Path) -> Path:
        """Atomically move `path` into a new directory below `cache/gone`; returns that directory."""
        (self._cache / "gone").mkdir(mode=0o700, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=self._cache / "gone"))
        path.rename(place / path.name)
        return place

    def _images(self) -> None:
        """Remove images that this runner pulled and that were unused for image_age, or for a day on a full disk."""
        host, age = self._host, float(self._host.settings.image_age)
        if not age:
            return
        if self._pressed and _is_short(host):
            age = min(age, PRESSED_IMAGE_AGE_S)
        for image_id in read_json(host.directory / "images.json") or {}:
            with images.recorded_images(host.directory) as known:
                entry = known.get(image_id)
                if entry is None or entry["used_at"] >= self._now - age:
                    continue
                size = host.engine.remove_image(image_id, entry["tags"])
                if size is None:
                    entry["used_at"] = self._now
                    continue
                del known[image_id]
            self._note("images", size)

    def _firewall(self) -> None:
        protect(self._host.directory, self._host.network, self._host.settings)
        self._note("firewall rules", count=firewall.remove_unused())


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _name(tree: Path) -> str:
    """Project and commit of a tree, independent of the path to the cache."""
    return f"{tree.parent.name}/{tree.name}"


def _marked(executions: Path) -> set[str]:
    """The names of the trees that executions have marked as used, see checkout.mark_used."""
    marked = set()
    for directory in _entries(executions):
        with contextlib.suppress(FileNotFoundError):
            marked.add(_name((directory / "tree").readlink()))
    return marked


def _unlinker(path: Path) -> Callable[[], bool]:
    def take() -> bool:
        path.unlink(missing_ok=True)
        return True

    return take
