-- How many sites a proxy has room for, those that it has included; NULL of one that was heard by a hub of an older version.
ALTER TABLE proxy ADD COLUMN room BIGINT;
