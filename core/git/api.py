"""Public functions of `core.git`: create, fetch into, read and export bare repositories. Only its modules use pygit2.

Reading never touches a working tree: names, sizes and kinds come from the object store, so nothing in a commit is
followed or executed. libgit2 has no helpers and no hooks; the git binary runs through `core.git.command`.
"""

# ruff: noqa: F401

from core.git.bounded import Bounds, TooLarge, fetch_head, fetch_submodule, forget_head, init_forks, is_shallow
from core.git.command import TooSlow
from core.git.diff import DiffStat, changed_paths, commits_between, diff_stat, merge_base
from core.git.export_tree import export
from core.git.modules import Module, Needed, lfs_settings, needed, submodules
from core.git.package_commit import PackageSpool, adhoc_commits, forget_adhoc, tidy, write_commit
from core.git.remotes import (
    MAX_REFS,
    TOKEN_USER,
    Login,
    RemoteSource,
    fetch,
    fetch_commit,
    fetch_fork,
    fork_source,
    lfs_login,
    locked,
    remote_refs,
    source_of,
)
from core.git.repository import (
    CommitInfo,
    RefUpdate,
    branch_updates,
    commit_info,
    find_commit,
    has_been,
    init_hosted,
    init_mirror,
    is_ancestor,
    pinned,
    read_file,
    refs,
    resolve,
    resolve_beginning,
    set_head_to_first_branch,
)
