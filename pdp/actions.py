"""The actions that exist: one table for the data plane, the audit log and the docs."""

from msgspec import Struct


class Action(Struct, frozen=True):
    """An action as policies name it.

    `audit_name` is how the audit log writes it; `model_bearing` actions need a
    model and carry the resources `model:<name>` and `provider:<name>`. What is made by those
    that have an output is counted in tokens, and may be bounded; others have nothing to bound.
    """

    name: str
    audit_name: str
    model_bearing: bool = True
    has_output: bool = True


_TABLE = (
    Action("chat:completions", "chat.completions.create"),
    Action("chat:stream", "chat.completions.stream"),
    Action("responses:create", "responses.create"),
    Action("responses:stream", "responses.stream"),
    Action("embeddings:create", "embeddings.create", has_output=False),
    Action("images:generate", "images.generate"),
    Action("audio:speech", "audio.speech.create"),
    Action("audio:transcribe", "audio.transcriptions.create"),
    Action("moderations:create", "moderations.create", has_output=False),
    Action("models:list", "models.list", model_bearing=False),
    Action("usage:read", "usage.read", model_bearing=False),
)

ACTIONS: dict[str, Action] = {action.name: action for action in _TABLE}
BY_AUDIT_NAME: dict[str, Action] = {action.audit_name: action for action in _TABLE}
