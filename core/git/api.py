"""Public functions of `core.git`: create, fetch into, read and export bare repositories. Only its modules use pygit2.

Reading never touches a working tree: names, sizes and kinds come from the object store, so nothing in a commit is
followed or executed. libgit2 has no helpers and no hooks; the git binary runs through `core.git.command`.
"""

from core.git.bounded import Bounds, TooLarge, fetch_head, fetch_submodule, forget_head, init_forks, is_shallow
from core.git.command import TooSlow
from core.git.diff import changed_paths, merge_base
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

__all__ = [
    "MAX_REFS",
    "TOKEN_USER",
    "Bounds",
    "CommitInfo",
    "Login",
    "Module",
    "Needed",
    "PackageSpool",
    "RefUpdate",
    "RemoteSource",
    "TooLarge",
    "TooSlow",
    "adhoc_commits",
    "branch_updates",
    "changed_paths",
    "commit_info",
    "export",
    "fetch",
    "fetch_commit",
    "fetch_fork",
    "fetch_head",
    "fetch_submodule",
    "find_commit",
    "forget_adhoc",
    "forget_head",
    "fork_source",
    "has_been",
    "init_forks",
    "init_hosted",
    "init_mirror",
    "is_ancestor",
    "is_shallow",
    "lfs_login",
    "lfs_settings",
    "locked",
    "merge_base",
    "needed",
    "pinned",
    "read_file",
    "refs",
    "remote_refs",
    "resolve",
    "resolve_beginning",
    "set_head_to_first_branch",
    "source_of",
    "submodules",
    "tidy",
    "write_commit",
]
