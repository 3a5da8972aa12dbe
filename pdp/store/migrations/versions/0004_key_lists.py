"""An index for each column that lists of keys are asked by."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LISTED = ("team_id", "user_id", "status", "key_type")
_PARENTS = "ix_api_keys_parent_key_id_api_keys_organization_id"
_SECRETS = "ix_secrets_key_id_secrets_created_at"


def upgrade() -> None:
    for name in _LISTED:
        op.create_index(
            f"ix_api_keys_{name}", "api_keys", ["organization_id", name, "created_at", "id"]
        )
    op.create_index(
        "ix_api_keys_ending",
        "api_keys",
        ["organization_id", "created_at", "id"],
        sqlite_where=sa.text("expires_at IS NOT NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    # The root of an organization has no parent, and is one of many of its keys.
    op.create_index(_PARENTS, "api_keys", ["parent_key_id", "organization_id"])
    op.drop_index("ix_api_keys_parent_key_id", "api_keys")
    # The newest secret of each key of a page is read from it.
    op.create_index(_SECRETS, "secrets", ["key_id", "created_at"])
    op.drop_index("ix_secrets_key_id", "secrets")


def downgrade() -> None:
    op.create_index("ix_api_keys_parent_key_id", "api_keys", ["parent_key_id"])
    op.drop_index(_PARENTS, "api_keys")
    op.create_index("ix_secrets_key_id", "secrets", ["key_id"])
    op.drop_index(_SECRETS, "secrets")
    op.drop_index("ix_api_keys_ending", "api_keys")
    for name in reversed(_LISTED):
        op.drop_index(f"ix_api_keys_{name}", "api_keys")
