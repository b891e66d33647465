-- When an item was started with its lease, until its agent shows that it heard of it.
ALTER TABLE items ADD COLUMN unheard_since BIGINT;
