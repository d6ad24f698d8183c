-- Version 4: script jobs, and what came of them.

-- A run's list, as its manifest's parts brought it.
CREATE TABLE script_jobs (
    run INTEGER NOT NULL, place INTEGER NOT NULL, -- in the list, from 0
    job TEXT NOT NULL,
    body BLOB NOT NULL,               -- Job, in MessagePack, as it was published first
    seq INTEGER NOT NULL,             -- its newest publication
    PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX script_jobs_by_name ON script_jobs (run, job);

-- The first success of each.
CREATE TABLE script_results (
    run INTEGER NOT NULL, place INTEGER NOT NULL, job TEXT NOT NULL, seq INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    value TEXT,                       -- one JSON text
    files BLOB NOT NULL,              -- OutputFiles, in MessagePack
    placed_at REAL,                   -- when its files were put into the output folder
    trouble TEXT,                     -- why they can't be
    PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX script_results_to_place ON script_results (run) WHERE placed_at IS NULL;
