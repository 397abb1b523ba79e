"""What a DAG file asks while a zygote imports it: in whose name, who is told, and what becomes of the tries."""

from __future__ import annotations

import json

from dagd.model.states import Reason
from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Rig, Scheduler

SOURCE = """
VALUE = ask("name")
LONG = ask("long")

def shows(channel, launch):
    print("it is", VALUE, flush=True)
    return [VALUE, len(LONG or "")]
"""


def asked(scheduler: Scheduler, key: str, token: str) -> dict:
    """The question of an import in the name of a try."""

    def found(seen: list) -> object:
        return next((f for f in seen if f["t"] == "request" and (f["args"]["key"], f["token"]) == (key, token)), None)

    return scheduler.wait(found)


def answer(scheduler: Scheduler, question: dict, value: object, **more: object) -> None:
    fields = {"ok": True, "value": value, **more}
    scheduler.say("reply", token=question["token"], id=question["id"], **fields)


def test_an_import_is_answered_and_its_secrets_are_hidden_in_every_try(rig: Rig) -> None:
    for grade in ("fork", "warm"):
        scheduler = rig.scheduler()
        scheduler.version(SOURCE + f"# {grade}\n")
        scheduler.launch(f"{grade}1", call="shows", grade=grade)
        answer(scheduler, asked(scheduler, "name", f"{grade}1"), "s3cret-4711", mask=["s3cret-4711"])
        answer(scheduler, asked(scheduler, "long", f"{grade}1"), "x" * 300_000)
        assert scheduler.result(f"{grade}1")["frame"]["value"] == ["s3cret-4711", 300_000]
        assert scheduler.run(f"{grade}2", call="shows", grade=grade)["outcome"] == "succeed"
        assert [rig.log(f"{grade}{n}").strip() for n in (1, 2)] == ["it is ***", "it is ***"]
        scheduler.close()


def test_when_the_try_that_asks_is_cancelled_the_next_one_asks(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", "b", call="shows")
    question = asked(scheduler, "name", "a")
    scheduler.say("cancel", tokens=["a"], grace_us=0, reason="cancel")
    assert scheduler.result("a")["outcome"] == "cancel"
    again = asked(scheduler, "name", "b")
    answer(scheduler, question, "late")
    answer(scheduler, again, "there")
    answer(scheduler, asked(scheduler, "long", "b"), None)
    assert scheduler.result("b")["frame"]["value"] == ["there", 0]


def test_a_refusal_fails_the_import_once_no_other_try_can_ask(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    scheduler.launch("a", "b", call="shows")
    for token in ("a", "b"):
        question = asked(scheduler, "name", token)
        scheduler.say("reply", token=token, id=question["id"], ok=False, error="no longer the current one")
    results = [scheduler.result(token) for token in ("a", "b")]
    assert [(one["outcome"], one["reason"]) for one in results] == [("fail", Reason.EXCEPTION)] * 2
    assert "no longer the current one" in json.dumps(results[0]["error"])


def test_an_import_waits_for_the_next_scheduler(rig: Rig) -> None:
    first = rig.scheduler()
    first.version(SOURCE)
    first.launch("a", call="shows")
    asked(first, "name", "a")
    first.close()
    second = rig.scheduler()
    second.say("adopt", tokens=["a"])
    answer(second, asked(second, "name", "a"), "there")
    answer(second, asked(second, "long", "a"), None)
    assert second.result("a")["frame"]["value"] == ["there", 0]
