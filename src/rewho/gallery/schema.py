"""The tables of a gallery, and the steps from each version of them to the next.

`PRAGMA user_version` holds the version. A column that says `erasable` holds what identifies a person; `erasure.py`
removes it. Each row that a wrong byte would falsify silently has a `sum`: the CRC of its other columns.
"""

from __future__ import annotations

import zlib

APPLICATION = 0x72774721
"""`PRAGMA application_id` of a gallery: a database of another program is refused."""

_FIRST = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE cameras (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  zone TEXT NOT NULL DEFAULT 'UTC'
);

CREATE TABLE sources (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL CHECK (kind IN ('images', 'folder', 'table', 'crop set', 'video', 'embeddings')),
  path TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE,
  terms TEXT NOT NULL,
  added REAL NOT NULL,
  expires REAL,
  status TEXT NOT NULL DEFAULT 'adding' CHECK (status IN ('adding', 'complete', 'expired'))
);

CREATE TABLE people (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL DEFAULT '',
  created REAL NOT NULL
);

CREATE TABLE sightings (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  source INTEGER NOT NULL REFERENCES sources (id),
  camera INTEGER REFERENCES cameras (id),
  track TEXT,
  began REAL,
  ended REAL,
  crops INTEGER NOT NULL,
  best INTEGER,
  state INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2)),
  person INTEGER REFERENCES people (id),
  embedding BLOB,
  version INTEGER NOT NULL,
  sum INTEGER NOT NULL,
  UNIQUE (source, track)
);
CREATE INDEX sightings_version ON sightings (version);
CREATE INDEX sightings_person ON sightings (person) WHERE person IS NOT NULL;

CREATE TABLE crops (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sighting INTEGER NOT NULL REFERENCES sightings (id) ON DELETE CASCADE,
  key BLOB NOT NULL UNIQUE,
  frame BLOB,
  name TEXT NOT NULL,
  number INTEGER,
  time REAL,
  box TEXT,
  quality REAL NOT NULL,
  sha256 TEXT NOT NULL,
  licence TEXT NOT NULL DEFAULT '',
  embedding BLOB,
  thumbnail BLOB,
  sum INTEGER NOT NULL
);
CREATE INDEX crops_sighting ON crops (sighting);
CREATE INDEX crops_frame ON crops (frame) WHERE frame IS NOT NULL;

CREATE TABLE removed (sighting INTEGER PRIMARY KEY, version INTEGER NOT NULL);
CREATE INDEX removed_version ON removed (version);
CREATE TABLE suppressed (key BLOB PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE searches (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  made REAL NOT NULL,
  who TEXT NOT NULL,
  query TEXT NOT NULL,
  camera INTEGER REFERENCES cameras (id),
  embedding BLOB
);
CREATE INDEX searches_key ON searches (key);

CREATE TABLE shown (
  key TEXT NOT NULL,
  sighting INTEGER NOT NULL REFERENCES sightings (id) ON DELETE CASCADE,
  who TEXT NOT NULL,
  search INTEGER NOT NULL,
  PRIMARY KEY (key, sighting, who)
) WITHOUT ROWID;
CREATE INDEX shown_sighting ON shown (sighting);

CREATE TABLE judgements (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  query INTEGER REFERENCES sightings (id) ON DELETE CASCADE,
  sighting INTEGER NOT NULL REFERENCES sightings (id) ON DELETE CASCADE,
  verdict TEXT NOT NULL CHECK (verdict IN ('yes', 'no', 'skip')),
  who TEXT NOT NULL,
  time REAL NOT NULL,
  UNIQUE (key, query, sighting)
);
CREATE INDEX judgements_query ON judgements (query);
CREATE INDEX judgements_sighting ON judgements (sighting);

CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  time REAL NOT NULL,
  who TEXT NOT NULL,
  kind TEXT NOT NULL,
  undoes INTEGER REFERENCES events (id),
  undone INTEGER REFERENCES events (id)
);

CREATE TABLE changes (
  event INTEGER NOT NULL REFERENCES events (id),
  what TEXT NOT NULL CHECK (what IN ('person', 'name', 'state')),
  target INTEGER NOT NULL,
  before TEXT,
  after TEXT,
  PRIMARY KEY (event, what, target)
) WITHOUT ROWID;
CREATE INDEX changes_target ON changes (what, target);

CREATE TABLE cases (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  purpose TEXT NOT NULL,
  opened REAL NOT NULL,
  who TEXT NOT NULL,
  closed REAL
);

CREATE TABLE case_sightings (
  case_id INTEGER NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
  sighting INTEGER NOT NULL REFERENCES sightings (id) ON DELETE CASCADE,
  note TEXT NOT NULL DEFAULT '',
  time REAL NOT NULL,
  who TEXT NOT NULL,
  PRIMARY KEY (case_id, sighting)
) WITHOUT ROWID;
CREATE INDEX case_sightings_sighting ON case_sightings (sighting);

CREATE TABLE calibrations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  made REAL NOT NULL,
  who TEXT NOT NULL,
  version INTEGER NOT NULL,
  model TEXT NOT NULL,
  content TEXT NOT NULL
);

CREATE TABLE receipts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  time REAL NOT NULL,
  content TEXT NOT NULL,
  done INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE COLLATE NOCASE,
  password TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
  all_cameras INTEGER NOT NULL DEFAULT 0,
  created REAL NOT NULL,
  disabled INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE user_cameras (
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  camera INTEGER NOT NULL REFERENCES cameras (id),
  PRIMARY KEY (user_id, camera)
) WITHOUT ROWID;
CREATE TABLE sessions (
  hash BLOB PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  csrf TEXT NOT NULL,
  created REAL NOT NULL,
  seen REAL NOT NULL,
  expires REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE tokens (
  hash BLOB PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  created REAL NOT NULL,
  expires REAL
) WITHOUT ROWID;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  time REAL NOT NULL,
  who TEXT NOT NULL,
  purpose TEXT NOT NULL,
  action TEXT NOT NULL,
  asked TEXT NOT NULL,
  ids TEXT NOT NULL,
  hash BLOB NOT NULL
);
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
"""

_SECOND = """
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  who TEXT NOT NULL,
  purpose TEXT NOT NULL,
  arguments TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed', 'stopped')),
  stopping INTEGER NOT NULL DEFAULT 0,
  done INTEGER NOT NULL DEFAULT 0,
  total INTEGER,
  message TEXT NOT NULL DEFAULT '',
  made REAL NOT NULL,
  began REAL,
  ended REAL
);
CREATE TABLE replies (
  who TEXT NOT NULL,
  key TEXT NOT NULL,
  request BLOB NOT NULL,
  status INTEGER,
  content TEXT,
  made REAL NOT NULL,
  PRIMARY KEY (who, key)
) WITHOUT ROWID;
"""

_THIRD = """
CREATE TABLE videos (
  source INTEGER NOT NULL REFERENCES sources (id),
  sha256 TEXT NOT NULL,
  path TEXT NOT NULL,
  PRIMARY KEY (source, sha256)
) WITHOUT ROWID;
"""

_SIGHTING = "id, source, camera, track, began, ended, crops, best, state, person, embedding"
_CROP = "id, sighting, key, frame, name, number, time, box, quality, sha256, licence, embedding, thumbnail"
_FOURTH = f"""
UPDATE sightings SET sum = row_sum({_SIGHTING}) WHERE sum = sum_of_text({_SIGHTING});
UPDATE crops SET sum = row_sum({_CROP}) WHERE sum = sum_of_text({_CROP});
"""  # noqa: S608 - names of our own
"""Sums are of bytes as they are, not written out as text. A row that was damaged keeps a sum that is not its own."""


def sum_of_text(*values: object) -> int:
    """Return the sum of a row's values in galleries of version 1 to 3."""
    return zlib.crc32(repr(values).encode())


STEPS: tuple[str, ...] = (_FIRST, _SECOND, _THIRD, _FOURTH)
"""Step i turns a gallery of version i into one of version i + 1; version 0 is an empty database."""
VERSION = len(STEPS)
