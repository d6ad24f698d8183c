-- Version 5: outputs that come from other machines, and staged sets.

-- The hash of the first file that is still on its way, and since when it is waited for.
ALTER TABLE script_results ADD COLUMN awaits TEXT;
ALTER TABLE script_results ADD COLUMN awaited_since REAL;
CREATE INDEX script_results_awaiting ON script_results (awaits) WHERE awaits IS NOT NULL;

-- The files that every node has on its ramdisk for a step.
CREATE TABLE staged_sets (
    step TEXT PRIMARY KEY,
    files BLOB NOT NULL,              -- Inputs, in MessagePack
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;
