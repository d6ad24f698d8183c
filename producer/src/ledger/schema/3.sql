-- Version 3: survivors of variable skips.

ALTER TABLE survivors ADD COLUMN sequence BLOB;         -- its skips, 16-bit little-endian
ALTER TABLE survivors ADD COLUMN reverse_sequence BLOB; -- both: in reverse order
