-- Version 3: what correlation and analysis report of each seed.

CREATE TABLE statistics (
    run INTEGER NOT NULL, seed INTEGER NOT NULL,
    report BLOB NOT NULL,             -- Report, in MessagePack
    score REAL,                       -- an analysis's
    outcome INTEGER NOT NULL,         -- who reported it first
    PRIMARY KEY (run, seed)
) STRICT, WITHOUT ROWID;
