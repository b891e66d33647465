-- Statements that PostgreSQL says otherwise; each overrides the one of queries.sql by its name.

-- fragment: handle
CAST(:handles AS JSONB) ->> items.id

-- fragment: held
jsonb_each_text(CAST(:held AS JSONB)) AS held (key, value)

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
                AND NOT :for_clients
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
                NOT :for_clients
                AND one.queue_id = :queue_id
                AND one.resource = wanted.resource
                AND one.submitted_by = :submitted_by
                AND one.state = 'pending'
                AND one.deleted_at IS NULL
                AND one.stop_requested_at IS NULL
            ORDER BY one.rank, one.seq
            LIMIT :limit
            FOR UPDATE SKIP LOCKED
        ) AS someones
        UNION ALL
        SELECT suited.seq, suited.rank FROM (
            SELECT one.seq, one.rank FROM items AS one
            WHERE
                :for_clients
                AND one.queue_id = :queue_id
                AND one.resource = wanted.resource
                AND (CAST(:submitted_by AS TEXT) IS NULL OR one.submitted_by = :submitted_by)
                AND one.state = 'pending'
                AND one.deleted_at IS NULL
                AND one.suits_clients
                AND one.stop_requested_at IS NULL
            ORDER BY one.rank, one.seq
            LIMIT :limit
            FOR UPDATE SKIP LOCKED
        ) AS suited
    ) AS head
    WHERE EXISTS (SELECT 1 FROM queues WHERE queues.id = :queue_id AND NOT queues.is_paused)
    ORDER BY head.rank, head.seq
    LIMIT :limit
),
ready AS (
    SELECT heads.seq, row_number() OVER (ORDER BY heads.rank, heads.seq) AS turn
    FROM heads
    INNER JOIN items AS one ON one.seq = heads.seq
    WHERE
        :starts > 0
        AND CAST(one.spec AS JSONB) -> 'source' IN (
            SELECT CAST(known.source AS JSONB)
            FROM jsonb_array_elements_text(CAST(:sources AS JSONB)) AS known (source)
        )
),
chosen AS (
    SELECT
        placed.seq AS chosen_seq,
        tokens.token AS token,
        EXISTS (SELECT 1 FROM ready WHERE ready.seq = placed.seq AND ready.turn <= :starts)
            AS is_started
    FROM (SELECT seq, row_number() OVER (ORDER BY rank, seq) AS place FROM heads) AS placed
    INNER JOIN jsonb_array_elements_text(CAST(:tokens AS JSONB))
    WITH ORDINALITY AS tokens (token, place)
        ON tokens.place = placed.place
)
UPDATE items
SET
    state = CASE WHEN chosen.is_started THEN 'running' ELSE 'leased' END,
    attempt = attempt + 1,
    lease_token = chosen.token,
    lease_agent = :agent,
    lease_deadline = CASE
        WHEN chosen.is_started
        THEN :deadline - :term + (SELECT lost_after_s * 1000 FROM queues WHERE id = :queue_id)
        ELSE :deadline
    END,
    lease_term = CASE
        WHEN chosen.is_started THEN (SELECT lost_after_s * 1000 FROM queues WHERE id = :queue_id)
        ELSE :term
    END,
    leased_at = :now,
    started_at = CASE WHEN chosen.is_started THEN CAST(:now AS BIGINT) END,
    unheard_since = CASE WHEN chosen.is_started THEN CAST(:now AS BIGINT) END
FROM chosen
WHERE items.seq = chosen.chosen_seq AND state = 'pending' AND deleted_at IS NULL
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

-- name: blobs_by_checksum
-- As there, with PostgreSQL's name for a JSON array's members.
SELECT blobs.md5, blobs.digest, blobs.size, blobs.stored_at
FROM jsonb_array_elements_text(CAST(:checksums AS JSONB)) AS wanted (checksum)
INNER JOIN blobs ON blobs.entity_folded = :entity_folded AND blobs.md5 = wanted.checksum
