-- Version 3: survivors and rates of variable skips, what correlation and analysis report of each
-- seed.

ALTER TABLE survivors ADD COLUMN sequence BLOB;         -- its skips, 16-bit little-endian
ALTER TABLE survivors ADD COLUMN reverse_sequence BLOB; -- both: in reverse order

CREATE TABLE statistics (
    run INTEGER NOT NULL, seed INTEGER NOT NULL,
    report BLOB NOT NULL,             -- Report, in MessagePack
    score REAL,                       -- an analysis's
    outcome INTEGER NOT NULL,         -- who reported it first
    PRIMARY KEY (run, seed)
) STRICT, WITHOUT ROWID;

CREATE TABLE rates_by_mode (
    model TEXT NOT NULL, threads INTEGER NOT NULL, engine TEXT NOT NULL, family TEXT NOT NULL,
    mode TEXT NOT NULL, arch TEXT NOT NULL, operations_per_second REAL NOT NULL,
    samples INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (model, threads, engine, family, mode)
) STRICT, WITHOUT ROWID;
INSERT INTO rates_by_mode
    SELECT model, threads, engine, family, 'fixed', arch, operations_per_second, samples, at FROM rates;
DROP TABLE rates;
ALTER TABLE rates_by_mode RENAME TO rates;
