-- When what a deleted item had was removed: its run's data and logs. The row itself stays, and with
-- it the idempotency key.
ALTER TABLE items ADD COLUMN purged_at BIGINT;

-- Tombstones that still have something, the oldest first.
CREATE INDEX items_to_purge ON items (deleted_at) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
