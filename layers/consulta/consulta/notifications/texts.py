"""What the mails say, in English, Spanish and Portuguese: pure.

Neutral by intent: that somebody has an appointment with a practice is told to them alone, in the
body; subjects and file names are read on lock screens and name nobody. A service's name is health
data and is in no mail (rules §11). Dates are written by tables of our own: the standard library's
depend on which locales a machine has.
"""

from dataclasses import dataclass
from datetime import datetime

from consulta.core.language import MONTHS, Language, language_of
from consulta.core.time import in_zone
from consulta.notifications.records import Kind
from consulta.notifications.rules import PAY_APPROVED, Due

__all__ = ["Facts", "Language", "Letter", "language_of", "letter", "when"]

# What an appointment is called where everybody may look: in calendars.
APPOINTMENT: dict[Language, str] = {"en": "Appointment", "es": "Cita", "pt": "Consulta"}

_DAYS: dict[Language, str] = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "pt": "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo",
}
_DATES: dict[Language, str] = {
    "en": "{weekday}, {day} {month} {year} at {clock}",
    "es": "{weekday}, {day} de {month} de {year}, {clock}",
    "pt": "{weekday}, {day} de {month} de {year}, {clock}",
}


def when(instant: datetime, zone: str, language: Language) -> str:
    """An instant on the clocks of ``zone``, with the zone and its offset, which an hour that comes
    twice needs: ``Saturday, 21 November 2026 at 10:00 (America/Mexico_City, UTC-06:00)``.
    """
    local = in_zone(instant, zone)
    offset = local.strftime("%z")
    text = _DATES[language].format(
        weekday=_DAYS[language].split()[local.weekday()],
        day=local.day,
        month=MONTHS[language].split()[local.month - 1],
        year=local.year,
        clock=local.strftime("%H:%M"),
    )
    return f"{text} ({zone}, UTC{offset[:3]}:{offset[3:5]})"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a mail may say; empty is not said. ``place`` is the kind of location."""

    practice: str
    when: str
    link: str
    expert: str = ""
    until: str = ""
    place: str = ""
    address: str = ""
    meeting_url: str = ""
    refund: str = ""
    kept: bool = False
    dates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's subject and text."""

    subject: str
    text: str


# subject, opening
_Opening = tuple[str, str]
_PAY_APPROVED = "pay_approved"
_OPENINGS: dict[Language, dict[str, _Opening]] = {
    "en": {
        Kind.HOLD: (
            "Your time is reserved",
            "{practice} keeps this time for you until {until}. "
            "It is booked once it is paid: open the link below to pay.",
        ),
        _PAY_APPROVED: (
            "Your appointment was accepted: please pay",
            "{practice} has accepted your request. The time is kept for you until {until}, "
            "and booked once it is paid: open the link below to pay.",
        ),
        Kind.REQUESTED: (
            "We have your appointment request",
            "{practice} has your request and answers it by {until}. "
            "Until then the time is kept for you.",
        ),
        Kind.BOOKED: (
            "Your appointment is confirmed",
            "Your appointment with {practice} is confirmed.",
        ),
        Kind.APPROVED: (
            "Your appointment is confirmed",
            "{practice} has accepted your request: your appointment is confirmed.",
        ),
        Kind.DECLINED: (
            "About your appointment request",
            "{practice} could not accept your request for this time.",
        ),
        Kind.RESCHEDULED: (
            "Your appointment has moved",
            "Your appointment with {practice} has moved. This is its new time.",
        ),
        Kind.CANCELLED: (
            "Your appointment was cancelled",
            "Your appointment with {practice} was cancelled.",
        ),
        Kind.SLOT_LOST: (
            "Your payment is given back",
            "Your payment to {practice} arrived when the time was no longer kept for you, and it "
            "could not be booked any more. You are given back all of it.",
        ),
        Kind.WAITLIST_OFFER: (
            "A time has become free for you",
            "You are on the waitlist of {practice}, and this time has become free. It is kept for "
            "you until {until}: open the link below to take it.",
        ),
        Kind.OFFER_LAPSED: (
            "The time that was offered to you is gone",
            "{practice} kept this time for you from the waitlist. It was not taken in time, and is "
            "not kept for you any more.",
        ),
        Kind.SERIES: (
            "Your appointments are booked",
            "{practice} has booked these appointments for you.",
        ),
        Kind.APPROVAL_REQUESTED: (
            "A request waits for your answer",
            "Somebody asks for an appointment with you at {practice}. Please answer by {until}: "
            "after that the request lapses.",
        ),
        Kind.EXPERT_BOOKED: (
            "You have a new appointment",
            "An appointment with you at {practice} was booked.",
        ),
        Kind.EXPERT_RESCHEDULED: (
            "An appointment has moved",
            "An appointment with you at {practice} has moved. This is its new time.",
        ),
        Kind.EXPERT_CANCELLED: (
            "An appointment was cancelled",
            "An appointment with you at {practice} was cancelled.",
        ),
        Kind.EXPERT_REPLACED: (
            "An appointment is no longer with you",
            "This appointment with you at {practice} has gone to somebody else. Your time is free "
            "again.",
        ),
        Kind.EXPERT_SERIES: (
            "You have new appointments",
            "These appointments with you at {practice} were booked.",
        ),
        Kind.FRAUD_WARNING: (
            "A payment may be disputed",
            "The bank that issued a card suspects that a payment to {practice} was not made by "
            "the card's owner. Nothing has been taken back yet. If you do not know the payer, or "
            "cannot reach them, giving all of it back now comes before a dispute and its fee. If "
            "you know that it is right, there is nothing to be done.",
        ),
        Kind.MESSAGE: (
            "You have a new message",
            "{practice} has written to you. Open the link below to read the message and answer it.",
        ),
        Kind.EXPERT_MESSAGE: (
            "A message waits for you",
            "You have a new message at {practice}. Open the link below to read it and answer it.",
        ),
        Kind.PRACTICE_MESSAGE: (
            "A message to the practice",
            "Somebody has written to {practice}. Open the link below to read the message and "
            "answer it.",
        ),
    },
    "es": {
        Kind.HOLD: (
            "Tu horario está reservado",
            "{practice} te guarda este horario hasta el {until}. "
            "La cita queda confirmada cuando se paga: abre el enlace de abajo para pagar.",
        ),
        _PAY_APPROVED: (
            "Tu cita fue aceptada: falta el pago",
            "{practice} aceptó tu solicitud. Te guarda el horario hasta el {until}, y la cita "
            "queda confirmada cuando se paga: abre el enlace de abajo para pagar.",
        ),
        Kind.REQUESTED: (
            "Recibimos tu solicitud de cita",
            "{practice} recibió tu solicitud y responderá a más tardar el {until}. "
            "Hasta entonces te guarda el horario.",
        ),
        Kind.BOOKED: ("Tu cita está confirmada", "Tu cita con {practice} está confirmada."),
        Kind.APPROVED: (
            "Tu cita está confirmada",
            "{practice} aceptó tu solicitud: tu cita está confirmada.",
        ),
        Kind.DECLINED: (
            "Sobre tu solicitud de cita",
            "{practice} no pudo aceptar tu solicitud para este horario.",
        ),
        Kind.RESCHEDULED: (
            "Tu cita cambió de horario",
            "Tu cita con {practice} cambió de horario. Este es el nuevo.",
        ),
        Kind.CANCELLED: ("Tu cita fue cancelada", "Tu cita con {practice} fue cancelada."),
        Kind.SLOT_LOST: (
            "Te devolvemos tu pago",
            "Tu pago a {practice} llegó cuando el horario ya no estaba guardado para ti, y ya no "
            "fue posible confirmarlo. Se te devuelve todo.",
        ),
        Kind.WAITLIST_OFFER: (
            "Se liberó un horario para ti",
            "Estás en la lista de espera de {practice} y se liberó este horario. Te lo guarda "
            "hasta el {until}: abre el enlace de abajo para tomarlo.",
        ),
        Kind.OFFER_LAPSED: (
            "El horario que te ofrecimos ya no está guardado",
            "{practice} te guardaba este horario de la lista de espera. No se tomó a tiempo y ya "
            "no está guardado para ti.",
        ),
        Kind.SERIES: (
            "Tus citas están reservadas",
            "{practice} reservó estas citas para ti.",
        ),
        Kind.APPROVAL_REQUESTED: (
            "Una solicitud espera tu respuesta",
            "Alguien pide una cita contigo en {practice}. Responde a más tardar el {until}: "
            "después la solicitud caduca.",
        ),
        Kind.EXPERT_BOOKED: (
            "Tienes una nueva cita",
            "Se reservó una cita contigo en {practice}.",
        ),
        Kind.EXPERT_RESCHEDULED: (
            "Una cita cambió de horario",
            "Una cita contigo en {practice} cambió de horario. Este es el nuevo.",
        ),
        Kind.EXPERT_CANCELLED: (
            "Una cita fue cancelada",
            "Una cita contigo en {practice} fue cancelada.",
        ),
        Kind.EXPERT_REPLACED: (
            "Una cita ya no es contigo",
            "Esta cita contigo en {practice} pasó a otra persona. Tu horario queda libre.",
        ),
        Kind.EXPERT_SERIES: (
            "Tienes nuevas citas",
            "Se reservaron estas citas contigo en {practice}.",
        ),
        Kind.FRAUD_WARNING: (
            "Un pago podría ser disputado",
            "El banco emisor de una tarjeta sospecha que una operación a favor de {practice} no la "
            "hizo su titular. Todavía no se ha retirado nada. Si no conoces a quien pagó, o no "
            "puedes contactarle, devolver todo ahora se adelanta a una disputa y a su comisión. "
            "Si sabes que el pago es correcto, no hace falta hacer nada.",
        ),
        Kind.MESSAGE: (
            "Tienes un mensaje nuevo",
            "{practice} te escribió. Abre el enlace de abajo para leer el mensaje y responder.",
        ),
        Kind.EXPERT_MESSAGE: (
            "Te espera un mensaje",
            "Tienes un mensaje nuevo en {practice}. Abre el enlace de abajo para leerlo y "
            "responder.",
        ),
        Kind.PRACTICE_MESSAGE: (
            "Un mensaje para el consultorio",
            "Alguien escribió a {practice}. Abre el enlace de abajo para leer el mensaje y "
            "responder.",
        ),
    },
    "pt": {
        Kind.HOLD: (
            "O seu horário está reservado",
            "{practice} guarda este horário até {until}. "
            "A consulta fica confirmada quando for paga: abra o link abaixo para pagar.",
        ),
        _PAY_APPROVED: (
            "O seu pedido foi aprovado: falta o pagamento",
            "{practice} aprovou o seu pedido. O horário está guardado até {until}, e a "
            "consulta fica confirmada quando for paga: abra o link abaixo para pagar.",
        ),
        Kind.REQUESTED: (
            "Recebemos o seu pedido de consulta",
            "{practice} recebeu o seu pedido e responde até {until}. "
            "Até lá o horário fica guardado.",
        ),
        Kind.BOOKED: (
            "A sua consulta está confirmada",
            "A sua consulta com {practice} está confirmada.",
        ),
        Kind.APPROVED: (
            "A sua consulta está confirmada",
            "{practice} aprovou o seu pedido: a sua consulta está confirmada.",
        ),
        Kind.DECLINED: (
            "Sobre o seu pedido de consulta",
            "{practice} não pôde aprovar o seu pedido para este horário.",
        ),
        Kind.RESCHEDULED: (
            "A sua consulta mudou de horário",
            "A sua consulta com {practice} mudou de horário. Este é o novo.",
        ),
        Kind.CANCELLED: (
            "A sua consulta foi cancelada",
            "A sua consulta com {practice} foi cancelada.",
        ),
        Kind.SLOT_LOST: (
            "O seu pagamento é devolvido",
            "O seu pagamento a {practice} chegou quando o horário já não estava guardado, e já não "
            "foi possível confirmá-lo. O valor é devolvido por inteiro.",
        ),
        Kind.WAITLIST_OFFER: (
            "Um horário ficou livre",
            "O seu nome está na lista de espera de {practice}, e este horário ficou livre. Está "
            "guardado até {until}: abra o link abaixo para ficar com ele.",
        ),
        Kind.OFFER_LAPSED: (
            "O horário oferecido já não está guardado",
            "{practice} guardava este horário da lista de espera. Não foi aceite a tempo e já não "
            "está guardado.",
        ),
        Kind.SERIES: (
            "As suas consultas estão marcadas",
            "{practice} marcou estas consultas.",
        ),
        Kind.APPROVAL_REQUESTED: (
            "Um pedido espera a sua resposta",
            "Há um pedido de consulta na sua agenda em {practice}. Responda até {until}: "
            "depois disso o pedido caduca.",
        ),
        Kind.EXPERT_BOOKED: (
            "Uma nova consulta na sua agenda",
            "Foi marcada uma consulta na sua agenda em {practice}.",
        ),
        Kind.EXPERT_RESCHEDULED: (
            "Uma consulta mudou de horário",
            "Uma consulta da sua agenda em {practice} mudou de horário. Este é o novo.",
        ),
        Kind.EXPERT_CANCELLED: (
            "Uma consulta foi cancelada",
            "Uma consulta da sua agenda em {practice} foi cancelada.",
        ),
        Kind.EXPERT_REPLACED: (
            "Uma consulta saiu da sua agenda",
            "Esta consulta da sua agenda em {practice} passou para outra pessoa. O seu horário "
            "está livre.",
        ),
        Kind.EXPERT_SERIES: (
            "Novas consultas na sua agenda",
            "Foram marcadas estas consultas na sua agenda em {practice}.",
        ),
        Kind.FRAUD_WARNING: (
            "Um pagamento pode ser contestado",
            "O banco emissor de um cartão suspeita que uma operação a favor de {practice} não foi "
            "feita pelo titular. Nada foi retirado ainda. Se não conhece quem pagou, ou não "
            "consegue entrar em contato, devolver tudo agora evita uma contestação e a sua taxa. "
            "Se sabe que o pagamento está certo, não é preciso fazer nada.",
        ),
        Kind.MESSAGE: (
            "Tem uma mensagem nova",
            "{practice} escreveu-lhe. Abra o link abaixo para ler a mensagem e responder.",
        ),
        Kind.EXPERT_MESSAGE: (
            "Há uma mensagem à sua espera",
            "Tem uma mensagem nova em {practice}. Abra o link abaixo para a ler e responder.",
        ),
        Kind.PRACTICE_MESSAGE: (
            "Uma mensagem para o consultório",
            "Alguém escreveu a {practice}. Abra o link abaixo para ler a mensagem e responder.",
        ),
    },
}


@dataclass(frozen=True, slots=True)
class _Words:
    """The lines that several mails share."""

    when: str
    expert: str
    where: str
    meeting: str
    link: str
    refund: str
    kept: str
    automatic: str
    places: tuple[tuple[str, str], ...]


_WORDS: dict[Language, _Words] = {
    "en": _Words(
        when="When: {}",
        expert="With: {}",
        where="Where: {}",
        meeting="Meeting: {}",
        link="See it here, signed in: {}",
        refund="You are given back {}, the way you paid; your bank may take some days.",
        kept="Under the terms of the booking nothing is given back.",
        automatic="This mail was sent automatically; answers to it are not read.",
        places=(("online", "online"), ("phone", "by phone")),
    ),
    "es": _Words(
        when="Cuándo: {}",
        expert="Con: {}",
        where="Dónde: {}",
        meeting="Reunión: {}",
        link="Puedes verla aquí, con tu sesión iniciada: {}",
        refund="Se te devuelven {} por el medio con el que pagaste; tu banco puede tardar unos "
        "días.",
        kept="Según las condiciones de la reserva no corresponde devolución.",
        automatic="Este correo se envió automáticamente; las respuestas no se leen.",
        places=(("online", "en línea"), ("phone", "por teléfono")),
    ),
    "pt": _Words(
        when="Quando: {}",
        expert="Com: {}",
        where="Onde: {}",
        meeting="Reunião: {}",
        link="Ver aqui, com a sessão iniciada: {}",
        refund="Serão devolvidos {} pelo meio usado no pagamento; o banco pode demorar alguns "
        "dias.",
        kept="Segundo as condições da reserva não há devolução.",
        automatic="Este e-mail foi enviado automaticamente; as respostas não são lidas.",
        places=(("online", "online"), ("phone", "por telefone")),
    ),
}


def letter(due: Due, facts: Facts, language: Language) -> Letter:
    """One mail. Names are people's own text: they stay on their line, whatever is in them."""
    opening_of = _PAY_APPROVED if due == PAY_APPROVED else due.kind
    subject, opening = _OPENINGS[language][opening_of]
    words = _WORDS[language]
    place = dict(words.places).get(facts.place, "") or _flat(facts.address)
    details = [
        *[words.when.format(date) for date in (facts.dates or (facts.when,)) if date],
        *_line(words.expert, facts.expert),
        *_line(words.where, place),
        *_line(words.meeting, facts.meeting_url),
    ]
    money = words.refund.format(facts.refund) if facts.refund else words.kept if facts.kept else ""
    blocks = [
        opening.format(practice=_flat(facts.practice), until=facts.until),
        money,
        "\n".join(details),
        words.link.format(facts.link),
        words.automatic,
    ]
    return Letter(subject, "\n\n".join(block for block in blocks if block) + "\n")


def _line(pattern: str, value: str) -> list[str]:
    return [pattern.format(_flat(value))] if value else []


def _flat(value: str) -> str:
    """A person's text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())
