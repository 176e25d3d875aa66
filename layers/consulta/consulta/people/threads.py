"""Threads of messages: whose they are, lists of them, and their end with their patient's.

They are about people's health. A patient sees their own, an expert those with themself, and who may
see all appointments also those with the practice as a whole; owners and admins see all of them.
An expert who may see all appointments does not for that read what others write their patients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, NotFound
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.core.listing import Plan
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people.records import EXPERT, PATIENT
from consulta.people.schema.threads import ThreadFilter, ThreadOut, ThreadPage, ThreadParty
from consulta.people.thread_records import THREAD, THREADS, Side, ThreadItem, threads_key

# Ending all threads of a patient is one transaction, which has at most 100 parts.
MAX_THREADS = 80
# Items that one page of a list may read, whether or not the filters let them through.
READ_BUDGET = 300
_COUNTER = "threads"


def side_of(by: Principal) -> Side:
    """On which side the caller reads and writes."""
    return Side.PATIENT if by.role is Role.PATIENT else Side.PRACTICE


def may_see(by: Principal, patient_id: str, expert_id: str | None) -> bool:
    """Whether a thread between the two is the caller's to read and write."""
    if by.role is Role.PATIENT:
        return bool(by.patient) and patient_id == by.patient
    if expert_id is not None and expert_id == by.expert:
        return True
    if by.role is Role.EXPERT and expert_id is not None:
        return False
    return by.sees_all("appointments")


def load(by: Principal, thread_id: str) -> ThreadItem:
    """A thread that the caller has to do with, as it is now. Raises NotFound."""
    thread = table.get(ThreadItem, by.tenant.item(THREAD, thread_id))
    if thread is None or thread.ended_at is not None:
        raise NotFound
    if not may_see(by, thread.patient_id, thread.expert_id):
        raise NotFound
    return thread


def get(by: Principal, thread_id: str) -> ThreadOut:
    """One thread. Raises NotFound."""
    return shown(by, load(by, thread_id))


def shown(by: Principal, thread: ThreadItem) -> ThreadOut:
    """A thread as the API shows it to this caller."""
    return _to_out(by, thread, _people(by.tenant, [thread]))


# ---------------------------------------------------------------- lists


def page(by: Principal, wanted: ThreadFilter, limit: int, cursor: str | None) -> ThreadPage:
    """One page, that with the newest message first.

    A patient's or an expert's are found by index, the rest is filtered within the read budget: a
    page may be short while its cursor goes on. Raises Forbidden for others' threads, BadRequest for
    a cursor of another list.
    """
    tenant, subject = by.tenant, by.subject
    scope = (tenant.practice, "/v1/threads", by.role, subject, wanted.model_dump_json())
    raws, last_key = _plan(by, wanted).read(limit, decode(cursor, *scope))
    threads = [ThreadItem.read(raw) for raw in raws]
    people = _people(tenant, threads)
    return ThreadPage(
        items=[
            _to_out(by, thread, people)
            for thread in threads
            # The index is a moment behind: the patient may be gone already.
            if "deleted_at" not in people.get(tenant.item(PATIENT, thread.patient_id), {})
        ],
        next_cursor=encode(last_key, *scope),
    )


@dataclass(slots=True)
class _Filter:
    """What is filtered out of the items that were read."""

    clauses: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, clause: str, name: str, value: object) -> None:
        """``clause`` says ``#n`` and ``:v``."""
        number = len(self.clauses)
        self.clauses.append(clause.replace("#n", f"#n{number}").replace(":v", f":v{number}"))
        self.names[f"#n{number}"], self.values[f":v{number}"] = name, value


def _plan(by: Principal, wanted: ThreadFilter) -> Plan:
    """By patient, else by expert, else all of the practice's; the rest is filtered."""
    tenant, patient_id, expert_id = by.tenant, wanted.patient_id, wanted.expert_id
    filters, also_the_practices = _Filter(), False
    if by.role is Role.PATIENT:
        patient_id = _own(by.patient, patient_id)
    elif by.role is Role.EXPERT or not by.sees_all("appointments"):
        also_the_practices = by.sees_all("appointments") and expert_id is None
        own = _own(by.expert, expert_id)
        expert_id = None if also_the_practices else own
        if also_the_practices:
            filters.add("(#n = :v OR attribute_not_exists(#n))", "expert_id", own)
    if patient_id:
        index, partition = "l3", tenant.listing_by(THREAD, "PATIENT", patient_id)
        if expert_id:
            filters.add("#n = :v", "expert_id", expert_id)
    elif expert_id:
        index, partition = "l2", tenant.listing_by(THREAD, "EXPERT", expert_id)
    else:
        index, partition = "l1", tenant.listing(THREAD)
    if wanted.unread:
        filters.add("#n > :v", f"unread_{side_of(by)}", 0)
    return Plan(
        index,
        (partition,),
        None,
        None,
        newest_first=True,
        where=" AND ".join(filters.clauses),
        names=filters.names,
        values=filters.values,
        budget=READ_BUDGET,
    )


def _own(subject: str, wanted: str | None) -> str:
    if not subject or wanted not in (None, subject):
        raise Forbidden("You see only your own messages")
    return subject


# ---------------------------------------------------------------- their patient's end


def joining(tenant: Tenant, patient_id: str, thread_id: str) -> table.Action:
    """Name a new thread with its patient, in the transaction that makes it; label ``THREADS``.

    It fails where the patient has as many as one transaction can end.
    """
    return table.update(
        threads_key(tenant, patient_id),
        set_={"entity": THREADS, thread_id: True},
        add={_COUNTER: 1},
        condition=f"attribute_not_exists(pk) OR {_COUNTER} < :most",
        values={":most": MAX_THREADS},
        label=THREADS,
    )


def endings(tenant: Tenant, patient_id: str, by: Actor) -> list[table.Action]:
    """End all threads of a patient, in the transaction that deletes them.

    A thread that is opened meanwhile makes the transaction fail (label ``THREADS``); a message that
    is sent meanwhile does not. What was unread is so no more: nobody could ever read it.
    """
    key = threads_key(tenant, patient_id)
    raw = table.get_raw(key)
    if raw is None:
        return [table.delete(key, condition="attribute_not_exists(pk)", label=THREADS)]
    row = table.from_raw(raw)
    gone = table.delete(
        key,
        condition=f"{_COUNTER} = :known",
        values={":known": int(row[_COUNTER])},
        label=THREADS,
    )
    return [gone, *(_ending(tenant, name, by) for name, value in row.items() if value is True)]


def _ending(tenant: Tenant, thread_id: str, by: Actor) -> table.Action:
    instant = to_text(now())
    return table.update(
        tenant.item(THREAD, thread_id),
        set_={
            "ended_at": instant,
            "unread_patient": 0,
            "unread_practice": 0,
            "l1pk": tenant.listing_by(THREAD, "STATE", "ended"),
            "updated_at": instant,
            "updated_by": by.id,
            "request_id": by.request_id,
            **({"origin": by.origin} if by.origin else {}),
        },
        # Of whatever version: a message at the same moment must not keep the patient.
        add={"version": 1},
        remove=["l2pk", "l2sk", "l3pk", "l3sk", *(() if by.origin else ("origin",))],
        condition="attribute_exists(pk)",
        label=THREAD,
    )


# ---------------------------------------------------------------- as the API shows them


def _people(tenant: Tenant, threads: Sequence[ThreadItem]) -> Mapping[Key, table.Raw]:
    """The patients and experts of these threads, in one batch."""
    wanted = {tenant.item(PATIENT, thread.patient_id) for thread in threads}
    wanted |= {tenant.item(EXPERT, thread.expert_id) for thread in threads if thread.expert_id}
    if not wanted:
        return {}
    return table.batch_get_raw(sorted(wanted, key=lambda key: key.pk), consistent=False)


def _to_out(by: Principal, thread: ThreadItem, people: Mapping[Key, table.Raw]) -> ThreadOut:
    def party(entity: str, item_id: str, *, named: bool = True) -> ThreadParty:
        found = people.get(by.tenant.item(entity, item_id), {}) if named else {}
        return ThreadParty(id=item_id, name=found["name"]["S"] if "name" in found else None)

    return ThreadOut(
        id=thread.item_id,
        patient=party(PATIENT, thread.patient_id, named=by.sees_patients),
        expert=party(EXPERT, thread.expert_id) if thread.expert_id else None,
        unread=thread.unread(side_of(by)),
        messages=thread.sent(Side.PATIENT) + thread.sent(Side.PRACTICE),
        last_message_id=thread.last_message_id,
        last_message_at=thread.last_at,
        last_message_from=Side(thread.last_from),
        created_at=thread.created_at,
        version=int(thread.version),
    )
