"""Cognito: refresh tokens that are good once, codes that are random, and steps in their order."""

import json
import secrets
import time
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import cognito
from ministack.services.cloudformation import provisioners

Answer = tuple[int, dict[str, str], bytes | str]

_ROTATION = "RefreshTokenRotation"
_STEPS = ("NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA")
_STEP_SECONDS = 180


def rotate_refresh_tokens() -> None:
    """Gap: ``RefreshTokenRotation`` of an app client is dropped, and tokens are never rotated.

    With it on, Cognito's GetTokensFromRefreshToken answers with a new refresh token and takes the
    old one for RetryGracePeriodSeconds more, then answers RefreshTokenReuseException (developer
    guide, "Refresh token rotation"). The tokens of one sign-in keep their ``origin_jti``.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::Cognito::UserPoolClient"]
    create, update = handler["create"], handler["update"]
    create_client, update_client = (
        cognito._create_user_pool_client,
        cognito._update_user_pool_client,
    )
    refresh = cognito._get_tokens_from_refresh_token
    first_used: dict[str, float] = {}

    def keep(client_id: str, rotation: dict[str, Any] | None) -> None:
        pool, _ = cognito._pool_for_client(client_id)
        if pool and rotation:
            pool["_clients"][client_id][_ROTATION] = rotation

    def create_with_rotation(logical_id: str, props: dict[str, Any], *rest: Any) -> Any:
        result = create(logical_id, props, *rest)
        keep(result[0], props.get(_ROTATION))
        return result

    def update_with_rotation(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], *rest: Any, **named: Any
    ) -> Any:
        result = update(physical_id, old, new, *rest, **named)
        keep(result[0], new.get(_ROTATION))
        return result

    def call_with_rotation(call: Any) -> Any:
        def with_rotation(data: dict[str, Any]) -> Answer:
            status, headers, body = call(data)
            if status < 400:
                keep(json.loads(body)["UserPoolClient"]["ClientId"], data.get(_ROTATION))
            return status, headers, body

        return with_rotation

    def refresh_and_rotate(data: dict[str, Any]) -> Answer:
        client_id, token = data.get("ClientId"), data.get("RefreshToken", "")
        pool, pool_id = cognito._pool_for_client(client_id)
        rotation = pool["_clients"][client_id].get(_ROTATION, {}) if pool else {}
        if rotation.get("Feature") != "ENABLED":
            return refresh(data)
        grace = rotation.get("RetryGracePeriodSeconds", 0)
        if time.time() > first_used.get(token, time.time()) + grace:
            return error_response_json(
                "RefreshTokenReuseException", "Refresh token has been rotated", 400
            )
        status, headers, body = refresh(data)
        if status >= 400:
            return status, headers, body
        first_used.setdefault(token, time.time())
        claims, answer = cognito._token_claims(token), json.loads(body)
        answer["AuthenticationResult"]["RefreshToken"] = cognito._fake_token(
            claims["sub"],
            pool_id,
            client_id,
            "refresh",
            origin_jti=claims["origin_jti"],
            scope=claims.get("scope"),
        )
        return status, headers, json.dumps(answer).encode()

    handler["create"], handler["update"] = create_with_rotation, update_with_rotation
    cognito._create_user_pool_client = call_with_rotation(create_client)
    cognito._update_user_pool_client = call_with_rotation(update_client)
    cognito._get_tokens_from_refresh_token = refresh_and_rotate


def make_and_check_codes() -> None:
    """Gap: mailed codes are 123456 and 654321, and without AUTH=true any code is taken.

    Cognito's are random, good for one use, and always checked; a confirmed sign-up has its email
    verified. The mail with the code is in MiniStack's mailbox (SES).
    """
    send, run = cognito._send_verification_email, cognito._run_idp_handler
    confirm = cognito._confirm_sign_up

    def send_random(
        pool: Any, username: str, attributes: Any, _code: str, attribute_name: str = "email"
    ) -> Any:
        code = f"{secrets.randbelow(10**6):06d}"
        user, _ = cognito._resolve_user(pool, username)
        kind = "_reset_code" if attribute_name == "password" else "_confirmation_code"
        user[kind] = code
        return send(pool, username, attributes, code, attribute_name=attribute_name)

    def run_checked(handler: Any, action: str, data: dict[str, Any]) -> Answer:
        if action in cognito._UNSIGNED_IDP_ACTIONS:
            cognito._pin_unsigned_idp_scope(data)
        return cognito._confirmation_code_error(action, data) or run(handler, action, data)

    def confirm_and_verify(data: dict[str, Any]) -> Answer:
        answer: Answer = confirm(data)
        pool, _ = cognito._pool_for_client(data.get("ClientId"))
        user = cognito._resolve_user(pool, data.get("Username"))[0] if pool else None
        if answer[0] < 400 and user:
            user["Attributes"] = cognito._merge_attributes(
                user["Attributes"], [{"Name": "email_verified", "Value": "true"}]
            )
        return answer

    cognito._send_verification_email = send_random
    cognito._run_idp_handler = run_checked
    cognito._confirm_sign_up = confirm_and_verify


def answer_only_what_was_asked() -> None:
    """Gap: RespondToAuthChallenge takes any session: no password is needed before a step.

    Cognito takes a step's answer only with the session that the right password (or the step before)
    gave for that user, for AuthSessionValidity (three minutes), and once.
    """
    initiate, respond = cognito._initiate_auth, cognito._respond_to_auth_challenge
    asked: dict[str, tuple[str, str, float]] = {}

    def owner(data: dict[str, Any], name: str | None) -> str:
        pool, _ = cognito._pool_for_client(data.get("ClientId"))
        user = cognito._resolve_user(pool, name)[0] if pool else None
        return user["Username"] if user else ""

    def remember(answer: Answer, user: str) -> Answer:
        if answer[0] < 400:
            body = json.loads(answer[2])
            if body.get("ChallengeName") in _STEPS:
                until = time.time() + _STEP_SECONDS
                asked[body["Session"]] = (body["ChallengeName"], user, until)
        return answer

    def initiate_and_remember(data: dict[str, Any]) -> Answer:
        name = (data.get("AuthParameters") or {}).get("USERNAME")
        return remember(initiate(data), owner(data, name))

    def respond_to_what_was_asked(data: dict[str, Any]) -> Answer:
        step, session = data.get("ChallengeName"), data.get("Session", "")
        if step not in _STEPS:
            return respond(data)
        user = owner(data, (data.get("ChallengeResponses") or {}).get("USERNAME"))
        known, whose, until = asked.get(session, ("", "", 0.0))
        if (known, whose) != (step, user) or time.time() > until:
            return error_response_json(
                "NotAuthorizedException", "Invalid session for the user.", 400
            )
        answer = respond(data)
        if answer[0] < 400:
            asked.pop(session, None)
        return remember(answer, user)

    cognito._initiate_auth = initiate_and_remember
    cognito._respond_to_auth_challenge = respond_to_what_was_asked
