"""Rules with real pushes: which events they match, and which values executions get."""

from __future__ import annotations

import pytest
from instance import Checkout
from push_server import PushServer
from ruled_project import CANCEL, TRAIN, Model, started

from core.states import State
from web.services.executions import environments, lifecycle
from web.store import deliveries
from web.store.db import execute, fetch_rows, transaction


def model(pushes: PushServer, checkout: Checkout, rules: str) -> Model:
    return Model(pushes, checkout, rules)


def test_a_push_runs_what_the_rules_for_its_branch_choose_each_step_once(
    pushes: PushServer, checkout: Checkout
) -> None:
    here = model(
        pushes,
        checkout,
        '[[rule]]\nname = "main"\nbranches = ["main"]\nsteps = ["train"]\npriority = 3\n'
        '[[rule]]\nname = "all"\nbranches = ["*", "!wip-*"]\npriority = 1\n',
    )
    assert here.change({"a": "1"}) == "2 executions"
    assert [(execution.step, execution.priority) for execution in here.made] == [("train", 3), ("check", 1)]
    assert here.change({"a": "2"}, "HEAD:refs/heads/dev") == "2 executions"
    assert [execution.priority for execution in here.made[2:]] == [1, 1]
    outcome = here.change({"a": "3"}, "HEAD:refs/heads/wip-x")
    assert outcome == (
        'no rule matched: "main" runs only for branch main, not wip-x; "all" excludes branch wip-x (!wip-*)'
    )


def test_a_wish_that_has_no_effect_does_not_hide_that_no_rule_is_for_the_push(
    pushes: PushServer, checkout: Checkout
) -> None:
    here = model(pushes, checkout, '[[rule]]\nname = "main"\nbranches = ["x"]\n')
    assert here.change({"a": "1"}, "-o", "pushmill.parameter=a=1", "main") == (
        'no rule matched: "main" runs only for branch x, not main'
    )
    assert dict(pushes.pushes("model")[-1].skipped) == {"parameter a": "nothing that runs has it"}


PATHS = '[[rule]]\nname = "code"\npaths = ["src/**", "!**/*.md"]\nsteps = ["train"]\n'


def test_paths_are_what_changed_since_the_ref_was_last_pushed(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, PATHS)
    assert here.change({"docs/a.md": "1", "src/b.md": "1"}) == (
        'no rule matched: "code" runs only for changes of src/**, !**/*.md, not docs/a.md, src/b.md'
    )
    here.commit({"src/a/b.py": "1"})
    assert here.change({"docs/a.md": "2"}) == "1 execution"  # two commits, one push


def test_a_new_branch_changed_what_the_default_branch_has_not(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, PATHS)
    here.change({"src/a.py": "1"})
    assert "runs only for changes of" in here.change({"docs/a": "1"}, "HEAD:refs/heads/docs")
    assert here.change({"src/b.py": "1"}, "HEAD:refs/heads/code") == "1 execution"
    assert "found no changed path" in here.push("main~2:refs/heads/old")


def test_a_branch_without_common_history_changed_every_file_that_it_has(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, PATHS)
    checkout.git("checkout", "-q", "--orphan", "fresh")
    assert "runs only for changes of" in here.change({"a": "1"}, "HEAD:refs/heads/fresh")
    checkout.git("checkout", "-q", "--orphan", "other")
    assert here.change({"src/a.py": "1"}, "HEAD:refs/heads/other") == "1 execution"


def test_a_forced_push_is_compared_with_what_it_pushed_out(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, PATHS)
    here.change({"src/a.py": "1", "docs/a": "1"})
    checkout.git("reset", "-q", "--hard", "HEAD~1")
    assert "runs only for changes of" in here.change({"src/a.py": "1", "docs/a": "2"}, "-f", "main")
    checkout.git("reset", "-q", "--hard", "HEAD~1")
    assert here.change({"docs/a": "2"}, "-f", "main") == "1 execution"  # src/a.py is gone again


def test_tags_run_by_rules_that_name_them(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, '[[rule]]\nname = "release"\nevents = ["tag"]\ntags = ["v*"]\nsteps = ["train"]\n')
    assert here.change({"a": "1"}) == 'no rule matched: "release" runs only for tag, not for a push'
    checkout.git("tag", "v1")
    checkout.git("tag", "-a", "x1", "-m", "x")
    assert here.push("v1") == "1 execution"
    assert here.push("x1") == 'no rule matched: "release" runs only for tag v*, not x1'


def test_environment_parameters_and_priority_reach_the_execution(pushes: PushServer, checkout: Checkout) -> None:
    environments.change(pushes.db, "gpu", {"gpus": 2})
    here = model(
        pushes,
        checkout,
        '[[rule]]\nname = "main"\nenvironment = "gpu"\npriority = 7\nparameters = { epochs = 3, layers = [1, 2], x = 1 }\n',
    )
    assert here.change({"valohai.yaml": TRAIN}) == "1 execution"
    (execution,) = here.made
    assert (execution.environment, execution.gpus, execution.priority) == ("gpu", 2, 7)
    assert execution.parameters == {"epochs": 3, "layers": [1, 2]}
    assert execution.commands == ("train --epochs=3 --layers=1,2",)
    assert pushes.pushes("model")[-1].skipped == (("parameter x of rule main", "nothing that the rule chooses has it"),)
    assert "Chosen by rule main" in here.log(execution)


def test_push_options_go_before_trailers_and_both_before_rules(pushes: PushServer, checkout: Checkout) -> None:
    for name in ("gpu", "big"):
        environments.change(pushes.db, name, {})
    here = model(
        pushes, checkout, '[[rule]]\nname = "main"\nenvironment = "gpu"\nparameters = { epochs = 3, layers = [9] }\n'
    )
    message = "work\n\nPushmill-Parameter: epochs=4\nPUSHMILL-PARAMETER: layers=5\nPushmill-Environment: big"
    here.change({"valohai.yaml": TRAIN}, message=message)
    here.push("-o", "pushmill.parameter=epochs=6", "-o", "pushmill.environment=gpu", "HEAD:refs/heads/dev")
    here.push(
        *("-o", "pushmill.parameter=nope=1", "-o", "pushmill.environment=moon", "-o", "pushmill.parameter=epochs"),
        "HEAD:refs/heads/dev2",
    )
    assert [(e.parameters, e.environment) for e in here.made] == [
        ({"epochs": 4, "layers": [5]}, "big"),
        ({"epochs": 6, "layers": [5]}, "gpu"),
        ({"epochs": 4, "layers": [5]}, "gpu"),
    ]
    assert dict(pushes.pushes("model")[-1].skipped) == {
        "parameter nope": "nothing that runs has it",
        "environment moon": "there is no environment of this name, so it is ignored",
        "parameter epochs": "NAME=VALUE is expected",
    }


def test_steps_that_a_push_names_run_whatever_the_rules_say_with_the_values_of_the_rule_for_them(
    pushes: PushServer, checkout: Checkout
) -> None:
    here = model(pushes, checkout, '[[rule]]\nname = "main"\nsteps = ["train"]\npriority = 5\n')
    assert here.change({"a": "1"}, "-o", "pushmill.step=check", "-o", "pushmill.step=train", "main") == "2 executions"
    assert [(execution.step, execution.priority) for execution in here.made] == [("check", 0), ("train", 5)]
    here.rules('[[rule]]\nname = "never"\nbranches = ["x"]\n')
    assert here.change({"a": "2"}, message="work\n\nPushmill-Step: check") == "1 execution"


def test_a_push_stops_what_older_pushes_of_its_branch_still_run_of_the_rule(
    pushes: PushServer, checkout: Checkout
) -> None:
    here = model(pushes, checkout, CANCEL)
    here.change({"a": "1"}, "HEAD:refs/heads/dev")
    here.change({"a": "2"})
    here.change({"a": "3"})
    assert here.states == [
        *(("train", State.QUEUED), ("check", State.QUEUED)),  # another branch
        *(("train", State.STOPPED), ("check", State.QUEUED)),
        *(("train", State.QUEUED), ("check", State.QUEUED)),
    ]
    (change,) = fetch_rows(pushes.db, "SELECT reason FROM state_change WHERE to_state = 'stopped'")
    assert change["reason"] == "superseded by #5 before it started"


def test_one_that_was_asked_to_stop_is_not_killed_by_a_newer_push(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, CANCEL)
    here.change({"a": "1"})
    started(here.pushes, here.made[0])
    lifecycle.request_stop(pushes.context, here.made[0].uuid, "ada")
    here.change({"a": "2"})
    assert (here.made[0].state, here.made[0].stop_count) == (State.STARTED, 1)
    started(here.pushes, here.made[2])
    here.change({"a": "3"})
    assert (here.made[2].state, here.made[2].stop_count) == (State.STARTED, 1)
    assert "Superseded by #5" in here.log(here.made[2])


def test_an_event_that_comes_late_stops_nothing_and_runs_nothing_of_the_rule(
    pushes: PushServer, checkout: Checkout
) -> None:
    here = model(pushes, checkout, CANCEL)
    older, newer = here.commit({"a": "1"}), here.commit({"a": "2"})
    for sha in (older, newer):
        pushes.push(checkout, "model", f"{sha}:refs/heads/main")
    waiting = [delivery.id for delivery in pushes.deliveries("model") if delivery.state == "stored"]
    execute(pushes.db, "UPDATE delivery SET id = id + 10 WHERE id = ?", (waiting[0],))  # the first comes last
    pushes.drain()
    assert [push.after for push in pushes.pushes("model")][1:] == [newer, older]
    assert pushes.pushes("model")[-1].skipped == (("train", "a newer push of this branch already runs"),)
    assert here.states == [("train", State.QUEUED), ("check", State.QUEUED), ("check", State.QUEUED)]


def test_what_fails_between_launching_and_stopping_leaves_neither_and_is_done_whole_later(
    pushes: PushServer, checkout: Checkout
) -> None:
    here = model(pushes, checkout, CANCEL)
    here.change({"a": "1"})
    execute(
        pushes.db,
        "CREATE TRIGGER full BEFORE INSERT ON state_change WHEN NEW.to_state = 'stopped'"
        " BEGIN SELECT RAISE(ABORT, 'no room'); END",
    )
    here.change({"a": "2"})
    assert here.states == [("train", State.QUEUED), ("check", State.QUEUED)]
    assert "no room" in pushes.deliveries("model")[-1].message
    execute(pushes.db, "DROP TRIGGER full")
    with transaction(pushes.db):
        deliveries.retry_now(pushes.db, pushes.deliveries("model")[-1].id)
    pushes.drain()
    assert [state for step_, state in here.states if step_ == "train"] == [State.STOPPED, State.QUEUED]


def test_a_branch_that_was_set_back_is_not_late(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, CANCEL)
    here.change({"a": "1"})
    here.change({"a": "2"})
    assert here.push("-f", "main~1:main") == "2 executions"
    assert [state for step_, state in here.states if step_ == "train"] == [State.STOPPED, State.STOPPED, State.QUEUED]


def test_rules_that_became_unreadable_run_nothing_and_say_so(pushes: PushServer, checkout: Checkout) -> None:
    here = model(pushes, checkout, "[[rule]]\nnames = 1\n")
    assert here.change({"a": "1"}).startswith(
        "nothing runs: the project's rules cannot be used: rule 1: name must have 1 to 64"
    )


@pytest.mark.parametrize("rules", ["", "# nothing but words\n"])
def test_without_rules_a_push_runs_every_step(pushes: PushServer, checkout: Checkout, rules: str) -> None:
    here = model(pushes, checkout, rules)
    assert here.change({"a": "1"}) == "2 executions"
