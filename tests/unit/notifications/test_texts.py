"""What mails say, in three languages: dates, neutral subjects, names that stay on their line."""

from datetime import UTC, datetime
from string import Formatter

import pytest

from consulta.notifications import texts
from consulta.notifications.records import TO_EXPERT, Kind
from consulta.notifications.rules import PAY_APPROVED, Due
from consulta.notifications.texts import Facts, Language

LANGUAGES: tuple[Language, ...] = ("en", "es", "pt")
FACTS = Facts(
    practice="Clínica Aurora",
    when="WHEN",
    link="https://app.example/appointments/appt_1",
    expert="Helena Duarte",
    until="UNTIL",
)
EVERY = [*(Due(kind) for kind in Kind), PAY_APPROVED]


@pytest.mark.parametrize(
    ("country", "language"),
    [
        ("MX", "es"),
        ("ES", "es"),
        ("AR", "es"),
        ("BR", "pt"),
        ("PT", "pt"),
        ("US", "en"),
        ("", "en"),
    ],
)
def test_the_country_says_the_language(country: str, language: str) -> None:
    assert texts.language_of(country) == language


@pytest.mark.parametrize(
    ("instant", "zone", "language", "text"),
    [
        (
            datetime(2026, 11, 21, 16, 0, tzinfo=UTC),
            "America/Mexico_City",
            "es",
            "sábado, 21 de noviembre de 2026, 10:00 (America/Mexico_City, UTC-06:00)",
        ),
        (
            datetime(2026, 11, 21, 4, 30, tzinfo=UTC),
            "Asia/Kolkata",
            "en",
            "Saturday, 21 November 2026 at 10:00 (Asia/Kolkata, UTC+05:30)",
        ),
        (
            datetime(2026, 3, 3, 2, 5, tzinfo=UTC),
            "America/Sao_Paulo",
            "pt",
            "segunda-feira, 2 de março de 2026, 23:05 (America/Sao_Paulo, UTC-03:00)",
        ),
    ],
)
def test_a_time_is_the_practices(
    instant: datetime, zone: str, language: Language, text: str
) -> None:
    assert texts.when(instant, zone, language) == text


def test_an_hour_that_comes_twice_is_told_apart() -> None:
    first, second = (
        texts.when(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), "Europe/Lisbon", "pt")
        for hour in (0, 1)
    )
    assert first == "domingo, 25 de outubro de 2026, 01:30 (Europe/Lisbon, UTC+01:00)"
    assert second == first.replace("+01:00", "+00:00")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_day_and_month_has_its_name(language: Language) -> None:
    days = {texts.when(datetime(2026, 6, n, tzinfo=UTC), "UTC", language) for n in range(1, 8)}
    assert len({text.partition(",")[0] for text in days}) == 7
    months = [texts.when(datetime(2026, n, 1, tzinfo=UTC), "UTC", language) for n in range(1, 13)]
    assert len({text.partition(", 1 ")[2] for text in months}) == 12


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("due", EVERY, ids=lambda due: f"{due.kind}-{due.n}")
def test_every_notice_has_its_words(due: Due, language: Language) -> None:
    letter = texts.letter(due, FACTS, language)
    assert "{" not in letter.subject + letter.text
    for named in ("Aurora", "Helena"):
        assert named not in letter.subject
    assert "Clínica Aurora" in letter.text
    assert "WHEN" in letter.text
    assert FACTS.link in letter.text
    until = due.kind in {
        Kind.HOLD,
        Kind.REQUESTED,
        Kind.WAITLIST_OFFER,
        Kind.APPROVAL_REQUESTED,
    }
    assert ("UNTIL" in letter.text) == until


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_languages_share_a_text(language: Language) -> None:
    others = [other for other in LANGUAGES if other != language]
    for due in EVERY:
        own = texts.letter(due, FACTS, language)
        assert all(texts.letter(due, FACTS, other).text != own.text for other in others)


def test_the_patterns_name_only_what_is_filled_in() -> None:
    for openings in texts._OPENINGS.values():
        assert len(openings) == len(Kind) + 1
        for _, opening in openings.values():
            fields = {name for _, name, _, _ in Formatter().parse(opening) if name is not None}
            assert fields <= {"practice", "until"}
            assert "practice" in fields


def test_names_stay_on_their_line_and_are_not_patterns() -> None:
    odd = "Eve\r\n\r\nhttps://evil.example {until} \u2028\x00x"
    facts = Facts(practice=odd, when="WHEN", link="L", expert=odd, address=odd, place="in_person")
    text = texts.letter(Due(Kind.BOOKED), facts, "en").text
    flat = "Eve https://evil.example {until} x"
    assert text.splitlines() == [
        f"Your appointment with {flat} is confirmed.",
        "",
        "When: WHEN",
        f"With: {flat}",
        f"Where: {flat}",
        "",
        "See it here, signed in: L",
        "",
        "This mail was sent automatically; answers to it are not read.",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_cancellation_says_what_becomes_of_the_money(language: Language) -> None:
    due = Due(Kind.CANCELLED)
    nothing, kept, back = (
        texts.letter(due, Facts("A", "W", "L", refund=refund, kept=kept), language).text
        for refund, kept in (("", False), ("", True), ("EUR 50.00", False))
    )
    assert len(nothing.split("\n\n")) + 1 == len(kept.split("\n\n")) == len(back.split("\n\n"))
    assert "EUR 50.00" in back
    assert "EUR" not in kept


def test_what_is_to_the_expert_is_known() -> None:
    assert {kind for kind in Kind if Due(kind).to_expert} == TO_EXPERT
    assert {kind for kind in Kind if kind.startswith("expert_")} < TO_EXPERT
