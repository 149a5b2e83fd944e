from django.db import migrations

FIXED = """
CREATE FUNCTION accounts_auditentry_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A line may lose its person or its project, when those are deleted, and nothing else.
    IF TG_OP = 'UPDATE'
        AND (NEW.user_id IS NULL OR NEW.user_id = OLD.user_id)
        AND (NEW.project_id IS NULL OR NEW.project_id = OLD.project_id)
        AND to_jsonb(NEW) - 'user_id' - 'project_id' = to_jsonb(OLD) - 'user_id' - 'project_id'
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'A line of the audit trail is neither changed nor deleted.' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER accounts_auditentry_is_fixed BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_auditentry_is_fixed();
"""

AGAIN_FREE = """
DROP TRIGGER accounts_auditentry_is_fixed ON accounts_auditentry;
DROP FUNCTION accounts_auditentry_is_fixed();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_audit_names_and_sessions_filled")]
    operations = [migrations.RunSQL(FIXED, AGAIN_FREE)]
