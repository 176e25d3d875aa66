"""What a receipt says, in English, Spanish and Portuguese: pure."""

from dataclasses import dataclass

from consulta.core.language import Language


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of a receipt in one language."""

    title: str
    notice: str
    issued: str
    patient: str
    payee: str
    expert: str
    provided: str
    tax_id: str
    description: str
    sessions: str
    net: str
    tax: str
    included: str
    amount: str
    total: str
    payments: str
    refunds: str
    paid: str
    refunded: str
    left: str
    page: str
    parts: dict[str, str]
    methods: dict[str, str]


# What a late move costs, as a line and as the payment of it.
FEE = "reschedule_fee"

# The method's own name is shown where it is none of these: brands are called the same everywhere.
_BRANDS = {
    "stripe": "Stripe",
    "mercadopago": "Mercado Pago",
    "pix": "Pix",
    "oxxo": "OXXO",
    "boleto": "Boleto",
    "visa": "Visa",
    "master": "Mastercard",
    "amex": "American Express",
    "sepa_debit": "SEPA",
}

WORDS: dict[Language, Words] = {
    "en": Words(
        title="Receipt",
        notice="This receipt shows what was paid. It is not a fiscal invoice.",
        issued="Issued on",
        patient="For",
        payee="Paid to",
        expert="With",
        provided="Date of the appointment",
        tax_id="Tax id",
        description="Description",
        sessions="{n} sessions",
        net="Net",
        tax="Tax",
        included="included in the price",
        amount="Amount",
        total="Total",
        payments="Payments",
        refunds="Refunds",
        paid="Paid",
        refunded="Refunded",
        left="Still to be paid",
        page="Page {page} of {pages}",
        parts={
            "full": "Payment",
            "deposit": "Deposit",
            "remainder": "Remainder",
            FEE: "Rescheduling fee",
        },
        methods=_BRANDS | {"card": "Card", "cash": "Cash", "transfer": "Transfer"},
    ),
    "es": Words(
        title="Recibo",
        notice="Este recibo muestra lo que se pagó. No es un comprobante fiscal.",
        issued="Emitido el",
        patient="Para",
        payee="Pagado a",
        expert="Con",
        provided="Fecha de la cita",
        tax_id="Identificación fiscal",
        description="Concepto",
        sessions="{n} sesiones",
        net="Neto",
        tax="Impuesto",
        included="incluido en el precio",
        amount="Importe",
        total="Total",
        payments="Pagos",
        refunds="Devoluciones",
        paid="Pagado",
        refunded="Devuelto",
        left="Pendiente de pago",
        page="Página {page} de {pages}",
        parts={
            "full": "Pago",
            "deposit": "Anticipo",
            "remainder": "Resto",
            FEE: "Cargo por cambio de cita",
        },
        methods=_BRANDS | {"card": "Tarjeta", "cash": "Efectivo", "transfer": "Transferencia"},
    ),
    "pt": Words(
        title="Recibo",
        notice="Este recibo mostra o que foi pago. Não é um documento fiscal.",
        issued="Emitido em",
        patient="Para",
        payee="Pago a",
        expert="Com",
        provided="Data da consulta",
        tax_id="Identificação fiscal",
        description="Descrição",
        sessions="{n} sessões",
        net="Líquido",
        tax="Imposto",
        included="incluído no preço",
        amount="Valor",
        total="Total",
        payments="Pagamentos",
        refunds="Devoluções",
        paid="Pago",
        refunded="Devolvido",
        left="Falta pagar",
        page="Página {page} de {pages}",
        parts={
            "full": "Pagamento",
            "deposit": "Sinal",
            "remainder": "Restante",
            FEE: "Taxa de remarcação",
        },
        methods=_BRANDS | {"card": "Cartão", "cash": "Dinheiro", "transfer": "Transferência"},
    ),
}
