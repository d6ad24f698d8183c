-- Version 2: epochs that people raise, dead letters with their copies, strikes and orders.

ALTER TABLE runs ADD COLUMN first_epoch INTEGER NOT NULL DEFAULT 1; -- older ones are another run's
ALTER TABLE runs ADD COLUMN requeue INTEGER NOT NULL DEFAULT 0;     -- its holes are to be queued
ALTER TABLE runs ADD COLUMN note TEXT;                              -- what it did by itself

ALTER TABLE dead ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE dead ADD COLUMN discarded_at REAL; -- no longer listed; what it covers stays given up

-- A row of the outbox is a whole message now; rows without headers are jobs of version 1.
ALTER TABLE outbox ADD COLUMN kind TEXT NOT NULL DEFAULT 'Job';
ALTER TABLE outbox ADD COLUMN headers TEXT;
CREATE INDEX outbox_by_run ON outbox (run);

-- Results that could not be read or make no sense. Copies go to dead.results.
CREATE TABLE dead_results (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- people name them by it
    kind TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL,
    why TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE (kind, body)
) STRICT;

-- Failures that were a device's own.
CREATE TABLE strikes (
    outcome INTEGER PRIMARY KEY, node TEXT NOT NULL, device TEXT NOT NULL, at REAL NOT NULL
) STRICT;
CREATE INDEX strikes_by_device ON strikes (node, device);

-- Devices that take nothing until a time, and the wait that ends then; gone after a success.
CREATE TABLE quarantines (
    node TEXT NOT NULL, device TEXT NOT NULL, until REAL NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (node, device)
) STRICT, WITHOUT ROWID;

-- What nodes were told by people.
CREATE TABLE node_orders (
    node TEXT PRIMARY KEY, asked TEXT NOT NULL, at REAL NOT NULL -- pause, drain
) STRICT, WITHOUT ROWID;

-- Runs that were deleted: what is still queued or running of them must not bring them back.
CREATE TABLE forgotten (
    name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, opened_at REAL NOT NULL, at REAL NOT NULL
) STRICT, WITHOUT ROWID;
