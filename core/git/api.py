"""Public functions of `core.git`: create, fetch into, read and export bare repositories. Only its modules use pygit2.

Reading never touches a working tree: names, sizes and kinds come from the object store, so nothing in a commit is
followed or executed. libgit2 has no helpers and no hooks; the git binary runs through `core.git.command`.
"""

# ruff: noqa: F401

from core.git.bounded import Bounds, TooLarge, fetch_head, fetch_submodule, forget_head, init_forks, is_shallow
from core.git.command import TooSlow
from core.git.diff import DiffStat, compute_diff_stat, find_merge_base, list_changed_paths, list_commits_between
from core.git.export_tree import export
from core.git.modules import Module, Needed, find_needed, read_lfs_settings, read_submodules
from core.git.package_commit import PackageSpool, forget_adhoc, list_adhoc_commits, tidy, write_commit
from core.git.remotes import (
    MAX_REFS,
    TOKEN_USER,
    Login,
    RemoteSource,
    fetch,
    fetch_commit,
    fetch_fork,
    fetch_lfs_login,
    list_remote_refs,
    locked,
    make_fork_source,
    make_remote_source,
)
from core.git.repository import (
    CommitInfo,
    RefUpdate,
    find_commit,
    get_commit,
    has_pointed_to,
    init_hosted,
    init_mirror,
    is_ancestor,
    list_branch_updates,
    list_refs,
    read_file,
    resolve,
    resolve_beginning,
    set_head_to_first_branch,
    to_pinned_ref,
)
