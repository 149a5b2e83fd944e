"""Rows → COPY's text, in chunks of whole rows, and back."""

import gzip
from collections.abc import Iterator

from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

CHUNK = 16 * 1024 * 1024
NOT_COPIED = {MigrationRecorder.Migration._meta.db_table}
"""The migrations are in the manifest, and are applied."""


def columns_of_tables() -> dict[str, list[str]]:
    """Tables by name, each with the columns that are stored as they are given."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND is_generated = 'NEVER' GROUP BY 1 ORDER BY 1"
        )
        return {name: columns for name, columns in cursor.fetchall() if name not in NOT_COPIED}


def chunks_of(table: str, columns: list[str]) -> Iterator[tuple[bytes, int]]:
    """A table's rows as compressed chunks, each with the number of its rows. Within the transaction at hand."""
    waiting = bytearray()
    rows = 0
    with connection.cursor() as cursor, cursor.copy(_copy(table, columns, "TO STDOUT")) as copy:
        for row in copy:
            waiting += row
            rows += 1
            if len(waiting) >= CHUNK:
                yield gzip.compress(waiting, compresslevel=3, mtime=0), rows
                waiting, rows = bytearray(), 0
    if waiting:
        yield gzip.compress(waiting, compresslevel=3, mtime=0), rows


def load(table: str, columns: list[str], chunk: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(_copy(table, columns, "FROM STDIN")) as copy:
        copy.write(gzip.decompress(chunk))


def empty(tables: list[str]) -> None:
    """Takes away the rows that migrations have put into tables."""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


def go_on_counting(tables: list[str]) -> None:
    """Each table's sequence goes on after its largest value."""
    with connection.cursor() as cursor:
        for table in tables:
            for sequence in connection.introspection.get_sequences(cursor, table):
                names = {"column": sql.Identifier(sequence["column"]), "table": sql.Identifier(table)}
                largest = sql.SQL("SELECT setval(%s, coalesce(max({column}), 1), max({column}) IS NOT NULL) FROM {table}").format(**names)
                cursor.execute(largest, [sequence["name"]])


def _copy(table: str, columns: list[str], way: str) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) ").format(sql.Identifier(table), names) + sql.SQL(way)
