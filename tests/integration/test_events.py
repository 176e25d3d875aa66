"""Every sample event of events/ is fed to its function, and what comes back is what is expected.

The functions run with the environment that template.yaml gives them, against emulated services with
one practice in them.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from consulta.core import aws, table
from consulta.core.item import Actor
from consulta.core.keys import Tenant, all_practices
from consulta.people.policy import default_policy
from consulta.people.records import PRACTICE, PracticeItem
from openapi import load, names
from tests.permissions import under_policy
from tests.template import resources

ROOT = Path(__file__).resolve().parents[2]
EVENTS = {
    f"{path.parent.name}/{path.stem}": path for path in sorted((ROOT / "events").glob("*/*.json"))
}
# API functions: the status. Workers: how many of the batch's messages come again.
EXPECTED = {
    "account_sessions/create": 404,
    "account_sessions/create_as_patient": 403,
    "aggregate/appointment_paid_and_confirmed": 0,
    "aggregate/malformed_item_is_parked": 0,
    "analytics/appointments_of_too_long_a_range": 422,
    "analytics/funnel_of_an_unknown_service": 404,
    "analytics/no_shows": 200,
    "analytics/retention": 200,
    "analytics/revenue_by_week": 200,
    "analytics/top_patients": 200,
    "api_keys/create_with_a_permission_of_no_key": 422,
    "api_keys/list": 200,
    "appointments/book_at_a_time_that_clocks_skip": 422,
    "appointment_actions/cancel_without_reason": 422,
    "appointment_actions/mark_paid_by_card": 422,
    "appointment_actions/preview_of_unknown": 404,
    "appointments/list": 200,
    "appointments/search": 200,
    "appointments/statistics": 200,
    "audit/happening": 0,
    "audit/unreadable_comes_again": 1,
    "audit_log/activity": 200,
    "audit_log/audit_beyond_a_year": 422,
    "audit_log/audit_of_a_patient": 200,
    "audit_seal/every_hour": 0,
    "auth/login_without_password": 422,
    "auth/logout_without_session": 204,
    "auth/refresh_without_session": 401,
    "authorizer/api_key_with_a_wrong_checksum": 0,
    "authorizer/garbage_token": 0,
    "authorizer/no_token": 0,
    "availability/get_unknown_expert": 404,
    "availability/put_overlapping_hours": 422,
    "availability/put_vacation_that_ends_before_it_begins": 422,
    "closures/get": 200,
    "closures/put_holidays_of_an_unknown_country": 422,
    "closures/put_that_ends_before_it_begins": 422,
    # Each of them has its own result.
    "bulk/cancel_unknown": 200,
    "bulk/reschedule_without_start": 422,
    "bulk_worker/job": 0,
    "bulk_worker/without_job": 1,
    "calendar/unknown_view": 422,
    "calendar/week": 200,
    "catalog/cannot_be_read": 1,
    "catalog/service_that_is_gone": 0,
    "calendar_push/of_an_unknown_channel": 404,
    "calendar_renew/every_hour": 0,
    "calendar_sync/appointment_confirmed": 0,
    "calendar_sync/no_calendar_and_nothing_known": 1,
    "calendars/callback_of_an_unknown_state": 303,
    "calendars/connect_nobodys": 422,
    "calendars/get_of_an_unknown_expert": 404,
    "commissions/list": 200,
    "commissions/put_rates_in_the_wrong_order": 422,
    # Nothing listens where the provider should be.
    "connect/create_account": 502,
    "connect/create_account_without_country": 422,
    "connect/login_without_account": 404,
    "connect/pay_out_weekly_on_no_day": 422,
    "connect/search_by_email": 200,
    "dashboard/practice": 200,
    "dashboard/unknown_section": 422,
    "disputes/get_unknown": 404,
    "disputes/list": 200,
    "disputes/list_of_no_status": 422,
    "docs/document": 200,
    "docs/page": 200,
    "earnings/by_month": 200,
    "earnings/of_a_range_backwards": 422,
    "experts/get_unknown": 404,
    "experts/list": 200,
    "experts/view_of_unknown": 404,
    "feeds/list_of_an_unknown_expert": 404,
    "figures_check/every_night": 0,
    "feeds/read_an_unknown_address": 404,
    "ledger/balances": 200,
    "ledger/list": 200,
    "ledger/list_of_no_book": 422,
    "me/confirm_mfa_without_code": 422,
    "me/list_sessions": 200,
    "invitations/accept_with_unknown_token": 404,
    "invitations/create_with_unknown_role": 422,
    "invitations/list": 200,
    "members/change_to_unknown_role": 422,
    "members/deactivate_unknown": 404,
    "members/list": 200,
    "mercadopago/get_connection": 404,
    "mercadopago_webhook/about_another_payment": 400,
    "mercadopago_webhook/fraud_alert_without_id": 200,
    "mercadopago_webhook/payment_updated": 200,
    "notes/read_of_unknown": 404,
    "notes/write_nothing": 422,
    "notify/items_that_are_gone": 0,
    "notify/unreadable_comes_again": 1,
    "patients/create_without_phone": 422,
    "patients/list": 200,
    "orders/get_by_no_id": 422,
    "orders/get_unknown": 404,
    "packages/buy_of_an_unknown_service": 404,
    "packages/cancel_unknown": 404,
    "packages/list": 200,
    "payment_events/cannot_be_read": 1,
    "payment_events/ignored_and_of_an_unknown_seller": 0,
    # Nothing listens where the provider should be: the next run asks again.
    "payment_repair/every_quarter_of_an_hour": 0,
    "payments/create_for_unknown_appointment": 404,
    "payments/create_for_both_at_once": 422,
    "payments/create_with_a_page_elsewhere": 422,
    "payments/list": 200,
    "payments/record_cash_of_nothing": 422,
    "payments/refund_unknown": 404,
    "payments/summary": 200,
    "payouts/balance": 200,
    "payouts/get_unknown": 404,
    "payouts/list": 200,
    "practices/create_with_unknown_zone": 422,
    "practices/list": 200,
    "publish/appointment_confirmed": 0,
    # Before its hour there is nothing to do; after it, nothing listens at the providers.
    "reconcile/every_ten_minutes": 0,
    "reconciliations/differences_backwards": 422,
    "reconciliations/get_unknown": 404,
    "reconciliations/list": 200,
    "realtime/appointment_changed": 0,
    "realtime/unreadable_comes_again": 1,
    "realtime_connection/connect_with_an_unknown_ticket": 403,
    "realtime_connection/connect_without_ticket": 403,
    "realtime_connection/disconnect": 200,
    "realtime_connection/ping": 200,
    "realtime_tickets/create": 201,
    "realtime_tickets/create_by_an_api_key": 403,
    "receipts/get_unknown": 404,
    "receipts/pdf_of_unknown": 404,
    "receipts/unknown_format": 422,
    "repair/not_a_key_comes_again": 1,
    "repair/parked_item": 0,
    "report_worker/report": 0,
    "report_worker/without_practice": 1,
    "report_schedules/create_at_no_time": 422,
    "reports/request": 202,
    "reports/request_backwards": 422,
    "resources/create": 201,
    "resources/create_of_no_kind": 422,
    "resources/list": 200,
    "reviews/create_for_unknown_appointment": 404,
    "reviews/create_with_six_stars": 422,
    "reviews/hide_without_reason": 422,
    "reviews/list_of_an_expert": 200,
    "reviews/reply_to_unknown": 404,
    "reviews/statistics": 200,
    "roles/create": 201,
    "roles/create_with_unknown_permission": 422,
    "roles/list": 200,
    "series/create_with_a_rule_that_is_refused": 422,
    "series/list": 200,
    "series/preview_of_an_unknown_service": 404,
    "series_worker/series_begun": 0,
    "series_worker/unreadable_comes_again": 1,
    "services/create_package_without_sessions": 422,
    "services/create_package_of_ten": 201,
    "services/list": 200,
    "sign_up/confirm_with_code_that_is_none": 422,
    "sign_up/sign_up_with_weak_password": 422,
    "slots/any_expert_of_an_unknown_service": 404,
    "slots/range_of_ten_years": 422,
    "slots/range_without_offset": 422,
    "slots/unknown_service": 404,
    "sso/callback_of_an_unknown_state": 303,
    "sso/create_for_a_public_domain": 422,
    "sso/list": 200,
    "sso/start_for_an_unknown_domain": 200,
    # Signed long ago: a stale signature is refused.
    "stripe_webhook/payment_intent_succeeded": 400,
    "stripe_webhook/without_signature": 400,
    "sweep/every_minute": 0,
    "sweep/nothing_in_it": 0,
    "threads/list_unread": 200,
    "threads/read_of_unknown": 404,
    "threads/write_to_unknown_patient": 404,
    "usage/beyond_93_days": 422,
    "usage/by_day": 200,
    "waitlist/accept_unknown": 404,
    "waitlist/join_backwards": 422,
    "waitlist/list_of_a_service": 200,
    "waitlist_offers/appointment_cancelled": 0,
    "waitlist_offers/unreadable_comes_again": 1,
    "webhook_inbox/get_unknown": 404,
    "webhook_inbox/list_what_failed": 200,
    "webhook_inbox/replay_a_day": 202,
    "webhook_inbox/replay_more_than_a_month": 422,
}


class Context:
    """What Lambda hands to a handler beside the event."""

    aws_request_id = "8d7b1c9e-3f52-4f7e-9d15-0a8f1a1f2b3c"
    function_name = "sample"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:sample"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 10_000


def folder_of(resource: dict[str, Any]) -> str:
    return str(resource["Properties"]["CodeUri"]).rstrip("/").rpartition("/")[2]


FUNCTIONS = {
    folder_of(resource): resource for resource in resources("AWS::Serverless::Function").values()
}


@pytest.fixture
def deployed(tables: Any, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What the functions talk to besides the tables."""
    sqs, secrets = aws.client("sqs"), aws.client("secretsmanager")
    queue = sqs.create_queue(QueueName="queue")["QueueUrl"]
    hook = {"current": "whsec_test", "previous": None, "until": None}
    stripe = {"api_key": "sk_test_sample", "webhook": hook}
    mercadopago = {
        "client_id": "app",
        "client_secret": "secret",
        "platform_access_token": "APP_USR-sample",
        "webhook": hook,
    }
    values = {
        "STRIPE_SECRET_ARN": secrets.create_secret(Name="stripe", SecretString=json.dumps(stripe))[
            "ARN"
        ],
        "MERCADOPAGO_SECRET_ARN": secrets.create_secret(
            Name="mercadopago", SecretString=json.dumps(mercadopago)
        )["ARN"],
        "AUDIT_SECRET_ARN": secrets.create_secret(
            Name="audit", SecretString=json.dumps({"id": "1", "key": "k" * 64})
        )["ARN"],
        "AUDIT_KEY_ID": aws.client("kms").create_key()["KeyMetadata"]["Arn"],
        "TOKENS_KEY_ID": aws.client("kms").create_key()["KeyMetadata"]["Arn"],
        "GOOGLE_SECRET_ARN": secrets.create_secret(
            Name="google", SecretString=json.dumps({"client_id": "app", "client_secret": "secret"})
        )["ARN"],
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "MERCADOPAGO_API_BASE": "http://127.0.0.1:9",
        "JWKS_URL": "http://127.0.0.1:9/jwks.json",
        "LIVE_MODE": "false",
        "API_URL": "https://api.consulta.example",
    }
    aws.client("s3", 10).create_bucket(Bucket="sample")
    aws.client("events").create_event_bus(Name="sample")
    for resource in FUNCTIONS.values():
        for name in resource["Properties"].get("Environment", {}).get("Variables", {}):
            value = values.get(name, queue if name.endswith("QUEUE_URL") else "sample")
            if name not in {"CORE_TABLE", "AUDIT_TABLE", "AGGREGATES_TABLE", "CONNECTIONS_TABLE"}:
                environment.setenv(name, value)
    environment.setenv("AUDIT_QUEUE_URL", queue)
    return environment


def make_practice(practice_id: str) -> None:
    item = PracticeItem.create(
        Tenant(practice_id).item(PRACTICE, practice_id),
        PRACTICE,
        Actor("sample", "sample"),
        name="Sample",
        zone="America/Mexico_City",
        currency="MXN",
        country="MX",
        commission_bps=1000,
        policy=default_policy("MXN"),
        l1pk=all_practices(),
        l1sk=practice_id,
    )
    table.transact([table.put_new(item)])


def test_every_function_has_its_sample_events() -> None:
    assert set(FUNCTIONS) == set(names())
    assert {name.partition("/")[0] for name in EVENTS} == set(names())
    assert set(EXPECTED) == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_the_function_answers_its_sample_event(deployed: pytest.MonkeyPatch, name: str) -> None:
    text = EVENTS[name].read_text()
    for practice_id in sorted(set(re.findall(r"prac_[0-9A-Z]{26}", text))):
        make_practice(practice_id)
    function = name.partition("/")[0]
    handler = under_policy(function, load(function).lambda_handler)
    answer = handler(json.loads(text), Context())
    if isinstance(answer, dict) and "statusCode" in answer:
        assert answer["statusCode"] == EXPECTED[name], answer["body"]
        if answer["statusCode"] >= 400:
            assert answer["headers"]["Content-Type"] == "application/problem+json"
    elif isinstance(answer, dict) and "isAuthorized" in answer:
        assert answer["context"]["problem"]
    else:
        assert len((answer or {}).get("batchItemFailures", [])) == EXPECTED[name]
