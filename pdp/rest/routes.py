"""The table of operations: every path and method of the admin API."""

from typing import Final

from pdp.control import audit_query, export
from pdp.control.key_document import KEY_TYPES
from pdp.control.listing import MOST, STATUSES
from pdp.control.policy_schemas import POLICY_EXAMPLES
from pdp.control.usage import GROUPS, MOST_ROWS
from pdp.rest import audit, keys, organization, policies, usage
from pdp.rest.content import PATCH_TYPES
from pdp.rest.openapi import examples
from pdp.rest.operation import Content, Operation
from pdp.rest.price_routes import PRICE_OPERATIONS
from pdp.rest.query import CURSOR, choice, day, flag, identity, instant, span, text, whole

_KEYS: Final = "/v1/api-keys"
_KEY: Final = "/v1/api-keys/{id}"

_API_KEY_ID: Final = identity("api_key_id", "Of one key.")

_KEY_OPERATIONS: Final = (
    Operation(
        method="POST",
        path=_KEYS,
        name="createKey",
        summary="Make a key",
        description="Needs `manage_keys`. The raw key is in this answer and nowhere else.",
        endpoint=keys.create,
        answer="KeyWithSecret",
        status=201,
        tag="keys",
        content=Content("NewKey", examples.NEW_KEY),
        answers=("forbidden",),
        examples={"key": examples.KEY_WITH_SECRET},
        creates=True,
        versioned=True,
    ),
    Operation(
        method="GET",
        path=_KEYS,
        name="listKeys",
        summary="List keys",
        description="Needs `manage_keys`. What the key that asks manages, oldest first, revoked "
        "ones included. `next_cursor` is null on the last page.",
        endpoint=keys.list_keys,
        long=True,
        answer="KeyList",
        tag="keys",
        parameters=(
            choice("status", "Of the key as it is now.", STATUSES),
            choice("key_type", "Level of the key.", KEY_TYPES),
            text("team_id", "Keys of a team.", "team_xyz789"),
            text("user_id", "Keys of a user.", "user_123"),
            span("older_than", "Keys whose newest secret is older: due for rotation."),
            whole("limit", "Keys of a page.", MOST, MOST),
            CURSOR,
        ),
        answers=("forbidden",),
        examples={"keys": examples.KEY_LIST},
    ),
    Operation(
        method="POST",
        path=f"{_KEYS}/temporary",
        name="createTemporaryKey",
        summary="Make a key that dies soon",
        description="Needs `manage_keys`. It stands below the key that asks, and dies with it.",
        endpoint=keys.create_temporary,
        answer="KeyWithSecret",
        status=201,
        tag="keys",
        content=Content("NewTemporaryKey", examples.TEMPORARY_KEY),
        answers=("forbidden",),
        examples={"key": {**examples.KEY_WITH_SECRET, "temporary": True}},
        creates=True,
        versioned=True,
    ),
    Operation(
        method="GET",
        path=_KEY,
        name="getKey",
        summary="Look at a key",
        description="Itself, or with `manage_keys` what it manages.",
        endpoint=keys.get,
        answer="Key",
        tag="keys",
        examples={"key": examples.KEY},
        versioned=True,
    ),
    Operation(
        method="PATCH",
        path=_KEY,
        name="updateKey",
        summary="Change a key",
        description="A JSON Merge Patch. Send `If-Match` with the ETag that you have seen, so "
        "that two editors do not overwrite each other.",
        endpoint=keys.update,
        answer="Key",
        tag="keys",
        content=Content("KeyPatch", examples.KEY_PATCH, PATCH_TYPES),
        answers=("forbidden", "conflict"),
        examples={"key": examples.KEY},
        guarded=True,
        versioned=True,
    ),
    Operation(
        method="DELETE",
        path=_KEY,
        name="revokeKey",
        summary="Revoke a key",
        description="Its own secrets and its temporary descendants are dead within a second. "
        "Other keys below live on, under its limits. Again changes nothing.",
        endpoint=keys.revoke,
        answer="RevokedKey",
        tag="keys",
        parameters=(flag("cascade", "Revoke all keys below as well."),),
        answers=("forbidden",),
        examples={"key": examples.REVOKED_KEY},
        guarded=True,
        versioned=True,
    ),
    Operation(
        method="POST",
        path=f"{_KEY}/rotate",
        name="rotateKey",
        summary="Give a key a new secret",
        description="It keeps its id, limits and history. The old secrets die after the grace "
        "period.",
        endpoint=keys.rotate,
        answer="KeyWithSecret",
        tag="keys",
        content=Content("Rotation", examples.ROTATION, optional=True),
        answers=("forbidden", "conflict"),
        examples={"key": examples.KEY_WITH_SECRET},
        creates=True,
        guarded=True,
        versioned=True,
    ),
    Operation(
        method="POST",
        path=f"{_KEY}/suspend",
        name="suspendKey",
        summary="Stop a key until it is resumed",
        description="Its own secrets are refused with `key_suspended`. Again changes nothing.",
        endpoint=keys.suspend,
        answer="Key",
        tag="keys",
        content=Content("Nothing", {"nothing": {}}, optional=True),
        answers=("forbidden", "conflict"),
        examples={"key": {**examples.KEY, "status": "suspended"}},
        guarded=True,
        versioned=True,
    ),
    Operation(
        method="POST",
        path=f"{_KEY}/resume",
        name="resumeKey",
        summary="Let a suspended key go on",
        description="One that is not suspended stays as it is.",
        endpoint=keys.resume,
        answer="Key",
        tag="keys",
        content=Content("Nothing", {"nothing": {}}, optional=True),
        answers=("forbidden", "conflict"),
        examples={"key": examples.KEY},
        guarded=True,
        versioned=True,
    ),
    Operation(
        method="POST",
        path=f"{_KEY}/report-compromised",
        name="reportCompromised",
        summary="Report that somebody else has a key",
        description="Suspends it at once. The key itself may do that, too.",
        endpoint=keys.report_compromised,
        answer="Key",
        tag="keys",
        content=Content("CompromiseReport", examples.COMPROMISE, optional=True),
        answers=("forbidden", "conflict"),
        examples={"key": {**examples.KEY, "status": "suspended"}},
        guarded=True,
        versioned=True,
    ),
)

_ORGANIZATION_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/organization",
        name="getOrganization",
        summary="Look at the organization's settings",
        description="Of the key that asks.",
        endpoint=organization.get,
        answer="Organization",
        tag="organization",
        examples={"organization": examples.ORGANIZATION},
        versioned=True,
    ),
    Operation(
        method="PATCH",
        path="/v1/organization",
        name="updateOrganization",
        summary="Change the organization's settings",
        description="Needs `manage_billing`. Windows that have begun keep their timezone. "
        "`If-Match` as for keys.",
        endpoint=organization.update,
        answer="Organization",
        tag="organization",
        content=Content("OrganizationPatch", examples.ORGANIZATION_PATCH, PATCH_TYPES),
        answers=("forbidden",),
        examples={"organization": examples.ORGANIZATION},
        guarded=True,
        versioned=True,
    ),
)

_READING_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/audit-logs",
        name="readAuditLog",
        summary="Read the audit log",
        description="A key sees its own entries, with `view_all_usage` those of all that it "
        "reaches. Newest first; a page may be short, or empty, while there is a `next_cursor`. "
        "With `format` all of it comes as a stream; `limit` then bounds that.",
        endpoint=audit.read,
        long=True,
        answer="AuditLog",
        tag="audit and usage",
        parameters=(
            _API_KEY_ID,
            text("model", "Of the request.", "gpt-4o"),
            text("provider", "Of the request.", "openai"),
            choice("status", "Of the entry.", audit_query.STATUSES),
            text("action", "As in policies, or as in the log.", "chat.completions.create"),
            text("request_id", "The client's, or the proxy's.", "req_xyz789"),
            instant("start", "From then on."),
            instant("end", "Before then."),
            whole("limit", "Entries of a page.", audit_query.MOST_ENTRIES, 100),
            CURSOR,
            choice("format", "Of a stream of all entries.", export.FORMATS),
        ),
        headers=(audit.KEY_HEADER,),
        answers=("forbidden", "not_found"),
        examples={"entries": examples.AUDIT_LOG},
        streams={form: export.media_type_of(form) for form in export.FORMATS},
    ),
    Operation(
        method="GET",
        path="/v1/usage",
        name="readUsage",
        summary="Read what was used",
        description="A key sees its own usage, with `view_all_usage` that of all that it "
        "reaches. Without `group_by`: each key with all below it, today, this month and in all.",
        endpoint=usage.read,
        long=True,
        answer="Usage",
        tag="audit and usage",
        parameters=(
            choice("group_by", "What a row is about.", GROUPS),
            day("start", "First day, in the organization's timezone; with `group_by`."),
            day("end", "Last day; with `group_by`."),
            _API_KEY_ID,
            whole("limit", "Rows of a page.", MOST_ROWS, MOST_ROWS),
            CURSOR,
        ),
        headers=(audit.KEY_HEADER,),
        answers=("forbidden", "not_found"),
        examples={"by model": examples.USAGE},
    ),
)

_POLICY_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/policies/validate",
        name="validatePolicy",
        summary="Say what is wrong with a policy, or with the body of a key",
        description="Makes nothing. Every fault with its place, and warnings about what is "
        "valid but certainly not meant.",
        endpoint=policies.validate,
        answer="ValidateAnswer",
        tag="policies",
        content=Content("ValidateBody", {"policy": POLICY_EXAMPLES["validate"]}),
        examples={"faults": examples.VALIDATED},
    ),
    Operation(
        method="POST",
        path="/v1/policies/simulate",
        name="simulateRequest",
        summary="Decide a request that nobody made",
        description="By keys in the body, or by one that is there (`api_key_id`). Nothing moves, "
        "nothing is written.",
        endpoint=policies.simulate,
        long=True,
        answer="SimulateAnswer",
        tag="policies",
        content=Content("SimulateBody", {"request": POLICY_EXAMPLES["simulate"]}),
        answers=("forbidden", "not_found"),
    ),
)

OPERATIONS: Final = (
    *_KEY_OPERATIONS,
    *_READING_OPERATIONS,
    *_POLICY_OPERATIONS,
    *PRICE_OPERATIONS,
    *_ORGANIZATION_OPERATIONS,
)
