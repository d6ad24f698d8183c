-- Version 1. Seeds and indices are u64, stored as the i64 of seed XOR 2^63, so that SQLite's
-- order is theirs. Ranges are first and last, both included. Times are Unix seconds.

CREATE TABLE ledger (
    uuid TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    state TEXT NOT NULL,              -- open, paused, complete, cancelled, failed
    manifest BLOB,                    -- RunOpened; NULL while only outcomes were heard
    first INTEGER, last INTEGER,      -- requested; NULL with the manifest
    opened_at REAL NOT NULL,
    ended_at REAL,
    last_outcome_at REAL,
    rests INTEGER NOT NULL DEFAULT 0, -- jobs that the outbox made of untested rests
    done INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0,
    requeued INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    survivors INTEGER NOT NULL DEFAULT 0,
    outputs_at REAL                   -- when the outputs were written
) STRICT;

-- Candidates of a reverse_sieve run, as its manifest's parts brought them.
CREATE TABLE parts (
    run INTEGER NOT NULL, part INTEGER NOT NULL, first_index INTEGER NOT NULL, seeds BLOB NOT NULL,
    PRIMARY KEY (run, part)
) STRICT, WITHOUT ROWID;

-- Disjoint, and never touching: a run is complete when one row holds its whole request.
CREATE TABLE coverage (
    run INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (run, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE survivors (
    run INTEGER NOT NULL, seed INTEGER NOT NULL,
    matches INTEGER NOT NULL, skip INTEGER NOT NULL,
    reverse_matches INTEGER, reverse_skip INTEGER,
    outcome INTEGER NOT NULL,         -- who reported it first
    PRIMARY KEY (run, seed)
) STRICT, WITHOUT ROWID;

-- Two reports of one seed that differ: somebody computed wrongly.
CREATE TABLE disagreements (
    run INTEGER NOT NULL, seed INTEGER NOT NULL, first_outcome INTEGER NOT NULL,
    second_outcome INTEGER NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (run, seed, second_outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL, job TEXT NOT NULL, seq INTEGER NOT NULL, attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    node TEXT NOT NULL, instance TEXT NOT NULL, device TEXT NOT NULL, model TEXT NOT NULL,
    threads INTEGER NOT NULL,
    verdict TEXT NOT NULL,            -- done, failed, returned
    failure TEXT, detail TEXT, stderr_tail TEXT,
    engine TEXT, tested BLOB,         -- the spans, in MessagePack
    near_misses INTEGER, near_miss_sum INTEGER,
    seconds REAL NOT NULL, busy_seconds REAL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX outcomes_by_key ON outcomes (run, job, seq);

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL, queue TEXT NOT NULL, job BLOB NOT NULL, due_at REAL NOT NULL
) STRICT;
CREATE INDEX outbox_by_time ON outbox (due_at);

CREATE TABLE dead (
    run INTEGER NOT NULL, job TEXT NOT NULL, failure TEXT NOT NULL, detail TEXT NOT NULL,
    first INTEGER, last INTEGER,      -- what it would have covered, where that is known
    body BLOB, at REAL NOT NULL,
    PRIMARY KEY (run, job)
) STRICT, WITHOUT ROWID;

CREATE TABLE rates (
    model TEXT NOT NULL, threads INTEGER NOT NULL, engine TEXT NOT NULL, family TEXT NOT NULL,
    arch TEXT NOT NULL, operations_per_second REAL NOT NULL, samples INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (model, threads, engine, family)
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    node TEXT NOT NULL, instance TEXT NOT NULL, heartbeat BLOB NOT NULL, heard_at REAL NOT NULL,
    PRIMARY KEY (node, instance)
) STRICT, WITHOUT ROWID;
