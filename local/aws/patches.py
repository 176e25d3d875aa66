"""Every difference between MiniStack 1.5.33 and AWS that we close, by name.

Each patch is one function whose docstring says the gap. tests/integration/test_local_aws.py
shows for each that plain MiniStack still has the gap and that the patched one does not.
"""

from local.aws.cognito import (
    answer_only_what_was_asked,
    make_and_check_codes,
    rotate_refresh_tokens,
)
from local.aws.front_door import serve_http_api_at_the_root
from local.aws.http_api import (
    import_openapi_bodies,
    move_cookies_out_of_headers,
    send_bytes_that_are_no_text_in_base64,
)
from local.aws.permissions import (
    check_batches_as_what_they_hold,
    check_schedules_in_their_group,
    check_whom_a_mail_is_from,
    write_down_what_iam_decides,
)
from local.aws.schedules import fire_schedules_in_their_time_zone
from local.aws.secrets import refer_to_secrets_by_arn
from local.aws.streams import honour_stream_failure_settings
from local.aws.transforms import tell_sam_the_parameters
from local.aws.workers import (
    do_not_wait_for_silent_functions,
    extract_each_layer_once,
    fork_workers_below_the_environment,
)

PATCHES = (
    tell_sam_the_parameters,
    import_openapi_bodies,
    move_cookies_out_of_headers,
    send_bytes_that_are_no_text_in_base64,
    serve_http_api_at_the_root,
    refer_to_secrets_by_arn,
    honour_stream_failure_settings,
    fire_schedules_in_their_time_zone,
    rotate_refresh_tokens,
    make_and_check_codes,
    answer_only_what_was_asked,
    do_not_wait_for_silent_functions,
    extract_each_layer_once,
    fork_workers_below_the_environment,
    check_batches_as_what_they_hold,
    check_schedules_in_their_group,
    check_whom_a_mail_is_from,
    write_down_what_iam_decides,
)


def apply_all() -> None:
    """Apply every patch to the imported MiniStack; call once, before it serves."""
    for patch in PATCHES:
        patch()
