"""The newest headline values of a run, kept in a table of their own so that the table of runs never touches history."""

from uuid import UUID

from django.db import connection

# The judging evaluation: the final one on the test split, else the newest on validation.
_REFRESH = """
WITH judged AS (
    SELECT metrics, step, split FROM runs_evaluation
    WHERE run_id = %(run)s AND subject = 'student' AND (split = 'validation' OR final)
    ORDER BY (final AND split = 'test') DESC, step DESC, final DESC
    LIMIT 1
), newest AS (
    SELECT m.key AS name, CASE WHEN jsonb_typeof(m.value) = 'number' THEN (m.value #>> '{}')::float8 END AS value, judged.step, judged.split
    FROM judged CROSS JOIN LATERAL jsonb_each(judged.metrics) AS m
), gone AS (
    DELETE FROM runs_latestmetric WHERE run_id = %(run)s AND name NOT IN (SELECT name FROM newest)
)
INSERT INTO runs_latestmetric (run_id, name, value, step, split)
SELECT %(run)s, name, value, step, split FROM newest
ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value, step = excluded.step, split = excluded.split
"""


def refresh(run_id: UUID) -> None:
    """Makes the run's latest values from its evaluations, in the transaction that changed them."""
    with connection.cursor() as cursor:
        cursor.execute(_REFRESH, {"run": run_id})
