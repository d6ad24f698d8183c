-- Version 3: survivors of variable skips, and what correlation and analysis report of each seed.

ALTER TABLE survivors ADD COLUMN sequence BLOB;         -- its skips, 16-bit little-endian
ALTER TABLE survivors ADD COLUMN reverse_sequence BLOB; -- both: in reverse order

CREATE TABLE statistics (
    run INTEGER NOT NULL, seed INTEGER NOT NULL,
    report BLOB NOT NULL,             -- Report, in MessagePack
    score REAL,                       -- an analysis's
    outcome INTEGER NOT NULL,         -- who reported it first
    PRIMARY KEY (run, seed)
) STRICT, WITHOUT ROWID;
