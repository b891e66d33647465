-- Statements that PostgreSQL says otherwise; each overrides the one of queries.sql by its name.

-- name: find_items_of_queue
-- As there; a lateral join reads the head of each state's index.
SELECT {item} FROM items
WHERE seq IN (
    SELECT head.seq
    FROM jsonb_array_elements_text(CAST(:states AS JSONB)) AS wanted (state)
    CROSS JOIN LATERAL (
        SELECT one.seq FROM items AS one
        WHERE
            one.queue_id = :queue_id
            AND one.state = wanted.state
            AND one.deleted_at IS NULL
            AND one.seq < :before_seq
            AND (CAST(:entity AS TEXT) IS NULL OR one.entity_folded = :entity)
            AND (CAST(:project AS TEXT) IS NULL OR one.project_folded = :project)
            AND (CAST(:submitted_by AS TEXT) IS NULL OR one.submitted_by = :submitted_by)
        ORDER BY one.seq DESC
        LIMIT :limit
    ) AS head
)
ORDER BY seq DESC
LIMIT :limit

-- name: lease_items
-- As there; SKIP LOCKED, as another server may be leasing at this moment: without it, eight threads
-- made 800 leases of 218 items.
WITH heads AS (
    SELECT head.seq, head.rank
    FROM jsonb_array_elements_text(CAST(:resources AS JSONB)) AS wanted (resource)
    CROSS JOIN LATERAL (
        SELECT anyones.seq, anyones.rank FROM (
            SELECT one.seq, one.rank FROM items AS one
            WHERE
                CAST(:submitted_by AS TEXT) IS NULL
                AND one.queue_id = :queue_id
                AND one.resource = wanted.resource
                AND one.state = 'pending'
                AND one.deleted_at IS NULL
                AND one.stop_requested_at IS NULL
            ORDER BY one.rank, one.seq
            LIMIT :limit
            FOR UPDATE SKIP LOCKED
        ) AS anyones
        UNION ALL
        SELECT someones.seq, someones.rank FROM (
            SELECT one.seq, one.rank FROM items AS one
            WHERE
                one.queue_id = :queue_id
                AND one.resource = wanted.resource
                AND one.submitted_by = :submitted_by
                AND one.state = 'pending'
                AND one.deleted_at IS NULL
                AND one.stop_requested_at IS NULL
            ORDER BY one.rank, one.seq
            LIMIT :limit
            FOR UPDATE SKIP LOCKED
        ) AS someones
    ) AS head
    WHERE EXISTS (SELECT 1 FROM queues WHERE queues.id = :queue_id AND NOT queues.is_paused)
    ORDER BY head.rank, head.seq
    LIMIT :limit
),
chosen AS (
    SELECT placed.seq AS chosen_seq, tokens.token AS token
    FROM (SELECT seq, row_number() OVER (ORDER BY rank, seq) AS place FROM heads) AS placed
    INNER JOIN jsonb_array_elements_text(CAST(:tokens AS JSONB))
    WITH ORDINALITY AS tokens (token, place)
        ON tokens.place = placed.place
)
UPDATE items
SET
    state = 'leased',
    attempt = attempt + 1,
    lease_token = chosen.token,
    lease_agent = :agent,
    lease_deadline = :deadline,
    lease_term = :term,
    leased_at = :now
FROM chosen
WHERE items.seq = chosen.chosen_seq AND state = 'pending' AND deleted_at IS NULL
RETURNING {item}

-- name: renew_leases
-- As there, with PostgreSQL's name for a JSON object's members.
UPDATE items
SET lease_deadline = :lease_now + lease_term
FROM jsonb_each_text(CAST(:held AS JSONB)) AS held (item_id, token)
WHERE items.id = held.item_id AND items.lease_token = held.token
RETURNING {item}

-- name: find_agents_of_queue
-- As there, with PostgreSQL's name for "holds".
SELECT {agent} FROM agents
WHERE CAST(queue_ids AS JSONB) @> to_jsonb(CAST(:queue_id AS BIGINT))
ORDER BY id

-- name: missing_blobs
-- As there, with PostgreSQL's name for a JSON array's members.
SELECT wanted.digest
FROM jsonb_array_elements_text(CAST(:digests AS JSONB)) WITH ORDINALITY AS wanted (digest, place)
WHERE NOT EXISTS (
    SELECT 1 FROM blobs
    WHERE blobs.entity_folded = :entity_folded AND blobs.digest = wanted.digest
)
ORDER BY wanted.place
