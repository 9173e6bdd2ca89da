"""The tables of a job's SQLite file, and how an older job is taken up."""

import sqlite3
from typing import Final

VERSION: Final = 2
_SEGMENT: Final = """
CREATE TABLE segment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- names the segment, for ever
    position INTEGER NOT NULL,             -- place in reading order, from 1
    paragraph INTEGER NOT NULL,
    source TEXT NOT NULL,
    translation TEXT,                      -- NULL until it is done
    origin TEXT NOT NULL DEFAULT '',       -- an Origin
    flags TEXT NOT NULL DEFAULT '[]',
    attempts INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    learned INTEGER NOT NULL DEFAULT 0     -- whether its block is finished
)
"""
_SEGMENTS_OF_1: Final = """
SELECT id, id AS position, paragraph, source, translation,
    CASE WHEN translation IS NULL THEN '' ELSE 'model' END AS origin,
    flags, attempts, tokens, seconds,
    id <= coalesce(
        (SELECT json_extract(value, '$.segments') FROM main.meta WHERE key = 'learned'), 0
    ) AS learned
FROM main.segment
"""
_META_OF_1: Final = """
SELECT key, CASE key WHEN 'learned' THEN json_remove(value, '$.segments') ELSE value END AS value
FROM main.meta
"""
"""Version 1 learned segments from the beginning of the document; an id was the place too."""


def create(db: sqlite3.Connection) -> None:
    """Make the table of a new job."""
    db.execute(_SEGMENT)


def upgrade(db: sqlite3.Connection) -> None:
    """Change the tables of a job of version 1 into those of today."""
    db.execute(f"CREATE TEMP TABLE before AS {_SEGMENTS_OF_1}")
    db.execute("DROP TABLE segment")
    db.execute(_SEGMENT)
    db.execute("INSERT INTO segment SELECT * FROM before")
    db.execute("DROP TABLE before")
    db.execute(f"INSERT OR REPLACE INTO meta {_META_OF_1}")


def show_upgraded(db: sqlite3.Connection) -> None:
    """Read a job of version 1 as one of today, without changing its file."""
    db.execute(f"CREATE TEMP VIEW segment AS {_SEGMENTS_OF_1}")
    db.execute(f"CREATE TEMP VIEW meta AS {_META_OF_1}")
