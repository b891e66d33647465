-- Pages that a queue points its people to, and whether it is its maker's alone.
ALTER TABLE queues ADD COLUMN external_links TEXT NOT NULL DEFAULT '{}';
ALTER TABLE queues ADD COLUMN is_personal BOOLEAN NOT NULL DEFAULT FALSE;
