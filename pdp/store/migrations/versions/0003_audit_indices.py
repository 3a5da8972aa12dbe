"""An index for each column that the audit log is asked by."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ASKED_BY = ("key_id", "team_id", "request_id", "model", "provider", "status", "action")


def upgrade() -> None:
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_request_id"))
        batch_op.drop_index(batch_op.f("ix_audit_organization_id_audit_at_audit_decision_id"))
        batch_op.drop_index(batch_op.f("ix_audit_key_id_audit_at_audit_decision_id"))
        batch_op.create_index(
            batch_op.f("ix_audit_organization_id_audit_at"),
            ["organization_id", "at"],
            unique=False,
        )
        for name in _ASKED_BY:
            batch_op.create_index(
                batch_op.f(f"ix_audit_organization_id_audit_{name}_audit_at"),
                ["organization_id", name, "at"],
                unique=False,
            )


def downgrade() -> None:
    with op.batch_alter_table("audit", schema=None) as batch_op:
        for name in reversed(_ASKED_BY):
            batch_op.drop_index(batch_op.f(f"ix_audit_organization_id_audit_{name}_audit_at"))
        batch_op.drop_index(batch_op.f("ix_audit_organization_id_audit_at"))
        batch_op.create_index(
            batch_op.f("ix_audit_key_id_audit_at_audit_decision_id"),
            ["key_id", "at", "decision_id"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_audit_organization_id_audit_at_audit_decision_id"),
            ["organization_id", "at", "decision_id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_audit_request_id"), ["request_id"], unique=False)
