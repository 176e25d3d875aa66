"""What a payment shows, apart from the models of payments: a dashboard is not to import those."""

from consulta.money.records import PaymentItem, State

_BY_STATE = {State.AUTHORIZED: State.PROCESSING}


def of(payment: PaymentItem) -> str:
    """The stored state, with what refunds and disputes make of it (rules §1).

    A value of :class:`consulta.money.schema.payments.DisplayedStatus`.
    """
    captured, refunded = int(payment.captured), int(payment.refunded)
    if payment.disputed:
        return "disputed"
    if captured and refunded:
        return "refunded" if refunded >= captured else "partially_refunded"
    if payment.state == State.OPEN and payment.requires_action:
        return "requires_action"
    state = State(payment.state)
    return str(_BY_STATE.get(state, state))
