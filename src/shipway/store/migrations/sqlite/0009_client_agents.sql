-- Items that the agents of clients can run, and the runs that clients make for themselves.
ALTER TABLE items ADD COLUMN suits_clients BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE runs ADD COLUMN is_hidden BOOLEAN NOT NULL DEFAULT FALSE;

-- As items_pending, for agents of clients: however many others wait, they are not looked at.
CREATE INDEX items_pending_for_clients ON items (queue_id, resource, rank, seq)
WHERE state = 'pending' AND deleted_at IS NULL AND suits_clients;
