"""Every problem and its answer."""

from http import HTTPStatus

import pytest

from consulta.core import errors
from consulta.core.http import PUBLIC, Api, needs
from tests.unit.people.calling import event, invoke


def every_problem() -> list[type[errors.Problem]]:
    found, pending = [], [errors.Problem]
    while pending:
        cls = pending.pop()
        found.append(cls)
        pending.extend(cls.__subclasses__())
    return found


PROBLEMS = every_problem()


def test_every_problem_has_a_type_of_its_own() -> None:
    types = [cls.type for cls in PROBLEMS]
    assert sorted(types) == sorted(set(types))
    assert errors.catalogue() == {cls.type: cls.status for cls in PROBLEMS}


@pytest.mark.parametrize("cls", PROBLEMS, ids=lambda cls: cls.type)
def test_every_problem_is_answered_as_problem_json(cls: type[errors.Problem]) -> None:
    api = Api("test")

    @api.get("/v1/x")
    @needs(PUBLIC)
    def raising() -> None:
        raise cls(
            "said so",
            errors=(errors.FieldError("body.a", "wrong", "code"),),
            extra={"more": [1]},
        )

    answer = invoke(api.handler, event("GET", "/v1/x"))
    assert answer.status == HTTPStatus(cls.status)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body == {
        "type": f"urn:consulta:problem:{cls.type}",
        "title": cls.title,
        "status": cls.status,
        "detail": "said so",
        "errors": [{"path": "body.a", "message": "wrong", "code": "code"}],
        "request_id": "request-1",
        "more": [1],
    }
    assert ("WWW-Authenticate" in answer.headers) is (cls.status == 401)
    assert ("Retry-After" in answer.headers) is (cls.status in (429, 503))


def test_who_asked_too_often_is_told_when_to_come_back() -> None:
    api = Api("test")

    @api.get("/v1/x")
    @needs(PUBLIC)
    def raising() -> None:
        raise errors.TooManyRequests(extra={"retry_after": 37})

    answer = invoke(api.handler, event("GET", "/v1/x"))
    assert (answer.headers["Retry-After"], answer.body["retry_after"]) == ("37", 37)
