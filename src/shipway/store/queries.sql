-- Named statements for both databases; postgres.sql overrides some by name.
-- Parameters are named. A list travels as one JSON text. {x} stands for the fragment x.

-- fragment: item
seq, id, queue_id, queue, project_queue, entity, project, run_id, name, author, submitted_by,
sweep_id, priority, rank, resource, spec, state, created_at, attempt, lost_count, retry_count,
lease_token, lease_agent, lease_deadline, lease_term, lock_digest, handle, stop_requested_at,
stop_requested_by, stop_grace_s, deleted_at, leased_at, started_at, ended_at, exit_code, failure,
retry_of, idempotency_key, body_hash, suits_clients

-- fragment: held
json_each(:held) AS held

-- fragment: handle
json_extract(:handles, '$."' || items.id || '"')

-- fragment: event
seq, item_id, queue_id, event, state, attempt, actor, at, data

-- fragment: queue
id, entity, project, name, resource, config, template_variables, has_priorities,
is_critical_for_admins, is_paused, on_lost, on_lost_retries, lost_after_s, max_attempts,
created_at, created_by, external_links, is_personal

-- fragment: run
seq, id, entity, project, name, item_id, created_at, config, summary, history_size, state, facts,
created_by, exit_code, heard_at, deadline, stop_requested_at, deleted_at, is_hidden

-- fragment: agent
id, user_name, hostname, version, state, queue_ids, queues, resources, run_as, slots, used_slots,
facts, created_at, seen_at

-- fragment: collection
seq, entity, project, name, type, description, tags, created_at, created_by, deleted_at

-- fragment: artifact
seq, collection_seq, state, digest, version, description, metadata, tags, history_step, wanted,
client_id, distributed_id, run_seq, created_by, created_at, updated_at, manifest, contents,
file_count, size, job, deleted_at, expires_at

-- fragment: manifest
seq, artifact_seq, kind, md5, base_seq, digest

-- fragment: sweep
seq, id, entity, project, name, description, state, config, source, seed, cursor, controller,
scheduler, scheduler_item, scheduler_count, created_by, created_at, updated_at, heard_at

-- fragment: sweep_agent
seq, id, sweep_seq, host, created_by, created_at, heard_at, deadline

-- fragment: sweep_run
sweep_runs.run_seq, runs.id, sweep_runs.sweep_seq, sweep_runs.number, sweep_runs.agent_seq,
sweep_runs.is_given, sweep_runs.gives, sweep_runs.is_heard, runs.item_id, items.state, runs.state,
coalesce(runs.stop_requested_at, items.stop_requested_at), sweep_runs.progress, runs.deleted_at

-- fragment: sweep_runs
sweep_runs
INNER JOIN runs ON runs.seq = sweep_runs.run_seq
LEFT JOIN items ON items.id = runs.item_id

-- name: insert_item
-- A conflict answers with no row rather than an error, which would end PostgreSQL's transaction.
-- A run id that is another item's is one; the index of runs keeps it so under all circumstances.
INSERT INTO items (
    id, queue_id, queue, project_queue, entity, entity_folded, project, project_folded, run_id,
    name, author, submitted_by, sweep_id, priority, rank, resource, spec, state, created_at,
    lock_digest, retry_of, idempotency_key, body_hash, suits_clients
)
SELECT
    :id, CAST(:queue_id AS BIGINT), :queue, :project_queue, :entity, :entity_folded, :project,
    :project_folded, :run_id, :name, :author, :submitted_by, :sweep_id,
    CAST(:priority AS BIGINT), CAST(:rank AS BIGINT), :resource, :spec, 'pending',
    CAST(:created_at AS BIGINT), :lock_digest, :retry_of, :idempotency_key, :body_hash,
    :suits_clients
WHERE NOT EXISTS (
    SELECT 1 FROM runs
    WHERE
        runs.entity_folded = :entity_folded
        AND runs.project_folded = :project_folded
        AND runs.id = :run_id
        AND coalesce(runs.item_id, '') <> :id
)
ON CONFLICT DO NOTHING
RETURNING seq

-- name: item
-- Tombstones too: their history stays readable.
SELECT {item} FROM items WHERE id = :id

-- name: item_by_key
-- A repeated add finds what the first one made.
SELECT {item} FROM items
WHERE entity_folded = :entity_folded AND idempotency_key = :idempotency_key

-- name: item_by_run
-- A run's state comes from its item.
SELECT {item} FROM items
WHERE id = (
    SELECT item_id FROM runs
    WHERE
        entity_folded = :entity_folded
        AND project_folded = :project_folded
        AND runs.id = :run_id
)

-- name: find_items
-- Newest first over all queues; walks back from the cursor until the page is full.
SELECT {item} FROM items
WHERE
    deleted_at IS NULL
    AND seq < :before_seq
    AND (CAST(:entity AS TEXT) IS NULL OR entity_folded = :entity)
    AND (CAST(:project AS TEXT) IS NULL OR project_folded = :project)
    AND (CAST(:state AS TEXT) IS NULL OR state = :state)
    AND (CAST(:submitted_by AS TEXT) IS NULL OR submitted_by = :submitted_by)
ORDER BY seq DESC
LIMIT :limit

-- name: find_items_of_queue
-- The newest of each state by index, then the newest of these: no walk over other queues' items.
SELECT {item} FROM items
WHERE seq IN (
    SELECT head.seq
    FROM json_each(:states) AS wanted
    CROSS JOIN items AS head ON head.seq IN (
        SELECT one.seq FROM items AS one INDEXED BY items_of_queue
        WHERE
            one.queue_id = :queue_id
            AND one.state = wanted.value
            AND one.deleted_at IS NULL
            AND one.seq < :before_seq
            AND (:entity IS NULL OR one.entity_folded = :entity)
            AND (:project IS NULL OR one.project_folded = :project)
            AND (:submitted_by IS NULL OR one.submitted_by = :submitted_by)
        ORDER BY one.seq DESC
        LIMIT :limit
    )
)
ORDER BY seq DESC
LIMIT :limit

-- name: request_stop
-- The first request stands; an ended item has nothing to stop.
UPDATE items
SET stop_requested_at = :now, stop_requested_by = :by, stop_grace_s = :grace_s
WHERE id = :id AND stop_requested_at IS NULL AND ended_at IS NULL
RETURNING {item}

-- name: amend_item
-- An ended item's order says nothing any more, so it stays; the first tombstone's time stands.
UPDATE items
SET
    priority = CASE WHEN ended_at IS NULL THEN coalesce(:priority, priority) ELSE priority END,
    rank = CASE WHEN ended_at IS NULL THEN coalesce(:rank, rank) ELSE rank END,
    deleted_at = coalesce(deleted_at, :deleted_at)
WHERE id = :id
RETURNING {item}

-- name: count_ahead
-- Reads the index of pending items alone.
SELECT count(*) FROM items
WHERE
    queue_id = :queue_id
    AND resource = :resource
    AND state = 'pending'
    AND deleted_at IS NULL
    AND (rank, seq) < (:rank, :seq)

-- name: lease_items
-- The only statement that makes a token. It looks at the head of each resource's index, puts the
-- heads in order, and changes in the same statement what it chose: nobody comes in between.
-- An agent that takes one submitter's items alone has an index of its own, and so have agents of
-- clients, which run some items only.
-- The first :starts items whose source the agent has already also pass the start gate here: none of
-- them was asked to stop, and from the start on the queue's own term holds, as in move_items.
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
    started_at = CASE WHEN chosen.is_started THEN :now END,
    unheard_since = CASE WHEN chosen.is_started THEN :now END
FROM (
    SELECT
        heads.seq AS chosen_seq,
        json_extract(:tokens, '$[' || heads.place || ']') AS token,
        heads.is_ready AND sum(heads.is_ready) OVER (ORDER BY heads.place) <= :starts AS is_started
    FROM (
        SELECT
            head.seq,
            row_number() OVER (ORDER BY head.rank, head.seq) - 1 AS place,
            :starts > 0
            AND json_extract(head.spec, '$.source') IN (SELECT value FROM json_each(:sources))
                AS is_ready
        FROM json_each(:resources) AS wanted
        CROSS JOIN items AS head ON head.seq IN (
            SELECT anyones.seq FROM (
                SELECT one.seq FROM items AS one INDEXED BY items_pending
                WHERE
                    :submitted_by IS NULL
                    AND NOT :for_clients
                    AND one.queue_id = :queue_id
                    AND one.resource = wanted.value
                    AND one.state = 'pending'
                    AND one.deleted_at IS NULL
                    AND one.stop_requested_at IS NULL
                ORDER BY one.rank, one.seq
                LIMIT :limit
            ) AS anyones
            UNION ALL
            SELECT someones.seq FROM (
                SELECT one.seq FROM items AS one INDEXED BY items_pending_of
                WHERE
                    NOT :for_clients
                    AND one.queue_id = :queue_id
                    AND one.resource = wanted.value
                    AND one.submitted_by = :submitted_by
                    AND one.state = 'pending'
                    AND one.deleted_at IS NULL
                    AND one.stop_requested_at IS NULL
                ORDER BY one.rank, one.seq
                LIMIT :limit
            ) AS someones
            UNION ALL
            SELECT suited.seq FROM (
                SELECT one.seq FROM items AS one INDEXED BY items_pending_for_clients
                WHERE
                    :for_clients
                    AND one.queue_id = :queue_id
                    AND one.resource = wanted.value
                    AND (:submitted_by IS NULL OR one.submitted_by = :submitted_by)
                    AND one.state = 'pending'
                    AND one.deleted_at IS NULL
                    AND one.suits_clients
                    AND one.stop_requested_at IS NULL
                ORDER BY one.rank, one.seq
                LIMIT :limit
            ) AS suited
        )
        WHERE EXISTS (SELECT 1 FROM queues WHERE queues.id = :queue_id AND NOT queues.is_paused)
        ORDER BY head.rank, head.seq
        LIMIT :limit
    ) AS heads
) AS chosen
WHERE items.seq = chosen.chosen_seq AND state = 'pending' AND deleted_at IS NULL
RETURNING {item}

-- name: move_items
-- Every other change of state. No row back: an item is not in that state, or not with that token.
-- A start is refused once a stop was asked for: the start gate's own check, in the same statement.
-- Of the moves START alone leads to a held state; from there on the queue's own term holds.
-- SQLite would plan anew at each call for a bare :before, which might be the state of an index.
UPDATE items
SET
    state = :after,
    unheard_since = NULL,
    lease_token = CASE WHEN :is_start THEN lease_token END,
    lease_agent = CASE WHEN :is_start THEN lease_agent END,
    lease_deadline = CASE
        WHEN :is_start
        THEN :lease_now + (SELECT lost_after_s * 1000 FROM queues WHERE id = items.queue_id)
    END,
    lease_term = CASE
        WHEN :is_start
        THEN (SELECT lost_after_s * 1000 FROM queues WHERE id = items.queue_id)
        ELSE 0
    END,
    handle = CASE WHEN :is_requeue THEN NULL ELSE coalesce({handle}, handle) END,
    leased_at = CASE WHEN :is_requeue THEN NULL ELSE leased_at END,
    started_at = CASE
        WHEN :is_start THEN :now
        WHEN :is_requeue OR :is_before_start THEN NULL
        ELSE started_at
    END,
    ended_at = CASE WHEN :is_end THEN :now END,
    exit_code = :exit_code,
    failure = :failure,
    lost_count = lost_count + :lost,
    retry_count = retry_count + :retries
FROM {held}
WHERE
    items.id = held.key
    AND items.state = :before || ''
    AND coalesce(lease_token, '') = held.value
    AND (NOT :unless_stopped OR stop_requested_at IS NULL)
RETURNING id, queue_id, attempt, state, lease_term

-- name: asks_of_agent
-- Asked for by each of an agent's calls: reads the few items that it holds. Somebody wants them
-- stopped, or they were started with their lease so long ago that the agent should have said so.
SELECT id, attempt, lease_token, stop_requested_at IS NOT NULL, stop_grace_s FROM items
WHERE
    lease_agent = :agent
    AND lease_token IS NOT NULL
    AND (stop_requested_at IS NOT NULL OR unheard_since < :unheard_before)

-- name: renew_leases
-- Only what is still held with the same token gets a new term.
UPDATE items
SET lease_deadline = :lease_now + lease_term, unheard_since = NULL
FROM {held}
WHERE items.id = held.key AND items.lease_token = held.value
RETURNING {item}

-- name: renew_all_leases
-- After a time in which nobody could renew: no lease ends for the server's own absence.
UPDATE items
SET lease_deadline = :lease_now + lease_term
WHERE lease_token IS NOT NULL
RETURNING seq

-- name: expired_items
-- Reads the index of held items alone.
SELECT {item} FROM items
WHERE lease_token IS NOT NULL AND lease_deadline < :before
ORDER BY lease_deadline, seq
LIMIT :limit

-- name: items_held_by
-- Asked by each call of an agent, for the stops among them.
SELECT {item} FROM items
WHERE lease_token IS NOT NULL AND lease_agent = :agent
ORDER BY seq

-- name: pin_lock
-- The first agent's lock stands: later attempts run in the same environment.
UPDATE items
SET lock_digest = coalesce(lock_digest, :lock)
WHERE id = :id AND lease_token = :token
RETURNING {item}

-- name: held_item
-- The guard of writes on behalf of a lease that go to other tables.
SELECT {item} FROM items WHERE id = :id AND lease_token = :token

-- name: insert_event
-- With a seq of the writer's own; see the table.
INSERT INTO item_events (seq, item_id, queue_id, event, state, attempt, actor, at, data)
VALUES (:seq, :item_id, :queue_id, :event, :state, :attempt, :actor, :at, :data)

-- name: events_of_item
-- An item's history, oldest first.
SELECT {event} FROM item_events WHERE item_id = :item_id AND seq > :after_seq ORDER BY seq

-- name: events_after
-- All items' events, for those who follow everything.
SELECT {event} FROM item_events WHERE seq > :after_seq ORDER BY seq LIMIT :limit

-- name: last_event
-- Both where to follow from and where the writer counts on.
SELECT coalesce(max(seq), 0) FROM item_events

-- name: insert_queue
-- A known name answers with no row.
INSERT INTO queues (
    entity, entity_folded, project, project_folded, name, resource, config, template_variables,
    has_priorities, is_critical_for_admins, is_paused, on_lost, on_lost_retries, lost_after_s,
    max_attempts, created_at, created_by, external_links, is_personal
) VALUES (
    :entity, :entity_folded, :project, :project_folded, :name, :resource, :config,
    :template_variables, :has_priorities, :is_critical_for_admins, :is_paused, :on_lost,
    :on_lost_retries, :lost_after_s, :max_attempts, :created_at, :created_by,
    :external_links, :is_personal
) ON CONFLICT DO NOTHING
RETURNING id

-- name: queue
-- By number: an item's own queue.
SELECT {queue} FROM queues WHERE id = :id

-- name: queue_by_name
-- By name: what people say.
SELECT {queue} FROM queues
WHERE entity_folded = :entity_folded AND project_folded = :project_folded AND name = :name

-- name: find_queues
-- There are few queues, so there are no pages.
SELECT {queue} FROM queues
WHERE CAST(:entity AS TEXT) IS NULL OR entity_folded = :entity
ORDER BY entity_folded, project_folded, name

-- name: update_queue
-- Whose it is and what it is called never change.
UPDATE queues
SET
    resource = :resource,
    config = :config,
    template_variables = :template_variables,
    has_priorities = :has_priorities,
    is_critical_for_admins = :is_critical_for_admins,
    is_paused = :is_paused,
    on_lost = :on_lost,
    on_lost_retries = :on_lost_retries,
    lost_after_s = :lost_after_s,
    max_attempts = :max_attempts,
    external_links = :external_links
WHERE id = :id
RETURNING {queue}

-- name: delete_queue
-- An item that lives needs its queue's rules.
DELETE FROM queues
WHERE
    id = :id
    AND NOT EXISTS (
        SELECT 1 FROM items
        WHERE items.queue_id = :id AND items.ended_at IS NULL AND items.deleted_at IS NULL
    )
    AND NOT EXISTS (
        SELECT 1 FROM items WHERE items.queue_id = :id AND items.lease_token IS NOT NULL
    )
RETURNING id

-- name: count_items
-- Reads an index alone.
SELECT state, count(*) FROM items
WHERE queue_id = :queue_id AND deleted_at IS NULL
GROUP BY state

-- name: insert_run
-- A known id answers with no row.
INSERT INTO runs (
    id, entity, entity_folded, project, project_folded, name, item_id, created_at, config, summary,
    state, facts, created_by, heard_at, deadline, is_hidden
) VALUES (
    :id, :entity, :entity_folded, :project, :project_folded, :name, :item_id, :created_at,
    :config, :summary, :state, :facts, :created_by, :heard_at, :deadline, :is_hidden
) ON CONFLICT DO NOTHING
RETURNING seq

-- name: run
-- By address: what people and programs say.
SELECT {run} FROM runs
WHERE entity_folded = :entity_folded AND project_folded = :project_folded AND id = :id

-- name: find_runs
-- Newest first; walks back from the cursor until the page is full. A run whose item no agent ever
-- took has not come to be: left out here, or a page of them would look like the last one.
SELECT {run} FROM runs
WHERE
    seq < :before_seq
    AND deleted_at IS NULL
    AND NOT is_hidden
    AND NOT EXISTS (
        SELECT 1 FROM items
        WHERE items.id = runs.item_id AND items.attempt = 0 AND items.state <> 'stopped'
    )
    AND (CAST(:entity AS TEXT) IS NULL OR entity_folded = :entity)
    AND (CAST(:project AS TEXT) IS NULL OR project_folded = :project)
ORDER BY seq DESC
LIMIT :limit

-- name: update_run
-- Config and summary as a whole: merging is the service's business.
UPDATE runs SET config = :config, summary = :summary WHERE seq = :seq

-- name: grow_history
-- Takes numbers for new rows, and locks the run's row until the commit.
UPDATE runs SET history_size = history_size + :count WHERE seq = :seq RETURNING history_size

-- name: insert_history
-- A row's number is its place.
INSERT INTO run_history (run_seq, number, values_json, step)
VALUES (:run_seq, :number, :values_json, :step)

-- name: history
-- Rows after so many: numbers have no gaps.
SELECT values_json FROM run_history
WHERE run_seq = :run_seq AND number >= :after
ORDER BY number
LIMIT :limit

-- name: put_run_file
-- Saving a path again replaces it.
INSERT INTO run_files (run_seq, path, digest, size, at, md5)
VALUES (:run_seq, :path, :digest, :size, :at, :checksum)
ON CONFLICT (run_seq, path) DO UPDATE
SET digest = excluded.digest, size = excluded.size, at = excluded.at, md5 = excluded.md5

-- name: run_files
-- In order of path.
SELECT path, digest, size, at, md5 FROM run_files WHERE run_seq = :run_seq ORDER BY path

-- name: amend_run
-- Everything that may change of a run but its config and summary.
UPDATE runs
SET
    name = :name, facts = :facts, state = :state, exit_code = :exit_code, heard_at = :heard_at,
    deadline = :deadline, stop_requested_at = :stop_requested_at, deleted_at = :deleted_at,
    is_hidden = :is_hidden
WHERE seq = :seq

-- name: hand_over_run
-- A run goes on under the item that comes after its own; where another one came, no row.
UPDATE runs SET item_id = :item_id
WHERE seq = :seq AND item_id = :before
RETURNING seq

-- name: silent_runs
-- Reads the index of those that have to be heard of.
SELECT {run} FROM runs
WHERE deadline IS NOT NULL AND deadline < :before
ORDER BY deadline
LIMIT :limit

-- name: extend_runs
-- After a time in which nobody could have been heard.
UPDATE runs SET deadline = :deadline WHERE deadline IS NOT NULL AND deadline < :deadline

-- name: runs_of_project
-- Oldest first; filters and orders of clients are looked at outside of the database.
SELECT {run} FROM runs
WHERE
    entity_folded = :entity_folded
    AND project_folded = :project_folded
    AND deleted_at IS NULL
    AND NOT is_hidden
    AND seq > :from_seq
    AND NOT EXISTS (
        SELECT 1 FROM items
        WHERE items.id = runs.item_id AND items.attempt = 0 AND items.state <> 'stopped'
    )
ORDER BY seq
LIMIT :limit

-- name: newest_runs_of_project
-- As `runs_of_project`, from the other end.
SELECT {run} FROM runs
WHERE
    entity_folded = :entity_folded
    AND project_folded = :project_folded
    AND deleted_at IS NULL
    AND NOT is_hidden
    AND seq < :from_seq
    AND NOT EXISTS (
        SELECT 1 FROM items
        WHERE items.id = runs.item_id AND items.attempt = 0 AND items.state <> 'stopped'
    )
ORDER BY seq DESC
LIMIT :limit

-- name: count_runs_of_project
-- As many as `runs_of_project` finds.
SELECT COUNT(*) FROM runs
WHERE
    entity_folded = :entity_folded
    AND project_folded = :project_folded
    AND deleted_at IS NULL
    AND NOT is_hidden
    AND NOT EXISTS (
        SELECT 1 FROM items
        WHERE items.id = runs.item_id AND items.attempt = 0 AND items.state <> 'stopped'
    )

-- name: projects_of_entity
-- As each was first written.
SELECT project, created_at FROM runs
WHERE seq IN (
    SELECT min(seq) FROM runs
    WHERE entity_folded = :entity_folded AND deleted_at IS NULL AND NOT is_hidden
    GROUP BY project_folded
)
ORDER BY project
LIMIT :limit

-- name: last_history_line
-- The end of an index.
SELECT max(line) FROM run_history WHERE run_seq = :run_seq AND line IS NOT NULL

-- name: known_history_lines
-- Those of a range that are there already: a client repeats what it got no answer to.
SELECT line FROM run_history WHERE run_seq = :run_seq AND line >= :first AND line < :end

-- name: insert_history_line
-- As insert_history, with the number that the client gave the line.
INSERT INTO run_history (run_seq, number, values_json, line, step)
VALUES (:run_seq, :number, :values_json, :line, :step)

-- name: last_history_step
-- The end of an index.
SELECT max(coalesce(step, number)) FROM run_history WHERE run_seq = :run_seq

-- name: history_of_steps
-- Reads an index; the later row of a step comes later.
SELECT values_json FROM run_history
WHERE
    run_seq = :run_seq
    AND coalesce(step, number) >= :min_step
    AND coalesce(step, number) < :max_step
ORDER BY coalesce(step, number), number
LIMIT :limit

-- name: sampled_history
-- As many rows as steps, evenly spread, and the last.
SELECT values_json FROM run_history
WHERE
    run_seq = :run_seq
    AND (
        (number * :steps) / :last <> ((number - 1) * :steps) / :last
        OR number = 0
        OR number = :last
    )
ORDER BY number
LIMIT :limit

-- name: put_system_line
-- A repeated line is the same line.
INSERT INTO run_system (run_seq, line, values_json) VALUES (:run_seq, :line, :values_json)
ON CONFLICT DO NOTHING

-- name: last_system_line
-- The end of the primary key.
SELECT max(line) FROM run_system WHERE run_seq = :run_seq

-- name: sampled_system
-- As many lines as steps, evenly spread, and the last.
SELECT values_json FROM run_system
WHERE
    run_seq = :run_seq
    AND (
        (line * :steps) / :last <> ((line - 1) * :steps) / :last
        OR line = 0
        OR line = :last
    )
ORDER BY line
LIMIT :limit

-- name: add_console
-- Chunks are numbered as they come.
INSERT INTO run_console (run_seq, number, first_line, line_count, digest, at)
SELECT :run_seq, coalesce(max(number), -1) + 1, :first_line, :line_count, :digest, :at
FROM run_console WHERE run_seq = :run_seq

-- name: console
-- In the order in which they came: a later one overwrites.
SELECT number, first_line, line_count, digest, at FROM run_console
WHERE run_seq = :run_seq
ORDER BY number
LIMIT :limit

-- name: drop_console
-- Those that one blob took the place of.
DELETE FROM run_console WHERE run_seq = :run_seq AND number <= :number

-- name: put_console
-- In place of those that were dropped.
INSERT INTO run_console (run_seq, number, first_line, line_count, digest, at)
VALUES (:run_seq, :number, :first_line, :line_count, :digest, :at)

-- name: long_consoles
-- Those that upkeep makes one chunk of.
SELECT run_seq FROM run_console
GROUP BY run_seq
HAVING count(*) > :chunks
ORDER BY run_seq
LIMIT :limit

-- name: console_size
-- Lines, holes included.
SELECT max(first_line + line_count) FROM run_console WHERE run_seq = :run_seq

-- name: references_of_console
-- What clients saw on their terminals.
SELECT run_seq, number, digest FROM run_console
WHERE (run_seq, number) > (:run_seq, :number)
ORDER BY run_seq, number
LIMIT :limit

-- name: secret
-- The server's own, made by the first that needs it.
SELECT value FROM meta WHERE name = :name

-- name: put_secret
-- The first one stands.
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING

-- name: log_size
-- No row: nothing yet.
SELECT size FROM logs WHERE item_id = :item_id AND attempt = :attempt AND name = :name

-- name: grow_log
-- No row back: the chunk does not begin where the log ends, or it is the first one.
UPDATE logs SET size = size + :length, chunk_count = chunk_count + 1
WHERE item_id = :item_id AND attempt = :attempt AND name = :name AND size = :start_byte
RETURNING size

-- name: start_log
-- The first chunk of a log; no row back where there is one already.
INSERT INTO logs (item_id, attempt, name, size, chunk_count)
VALUES (:item_id, :attempt, :name, :length, 1)
ON CONFLICT DO NOTHING
RETURNING size

-- name: insert_chunk
-- Bytes are in blobs; here is only where they are.
INSERT INTO log_chunks (item_id, attempt, name, start_byte, length, digest, first_at, last_at)
VALUES (:item_id, :attempt, :name, :start_byte, :length, :digest, :first_at, :last_at)

-- name: chunks
-- From the chunk that holds the offset on; found by the key, however long the log is.
SELECT item_id, attempt, name, start_byte, length, digest, first_at, last_at FROM log_chunks
WHERE
    item_id = :item_id
    AND attempt = :attempt
    AND name = :name
    AND start_byte >= coalesce((
        SELECT max(before.start_byte) FROM log_chunks AS before
        WHERE
            before.item_id = :item_id
            AND before.attempt = :attempt
            AND before.name = :name
            AND before.start_byte <= :after
    ), 0)
    AND start_byte + length > :after
ORDER BY start_byte
LIMIT :limit

-- name: logs_of_item
-- What there is to show.
SELECT attempt, name, size FROM logs WHERE item_id = :item_id ORDER BY attempt, name

-- name: unsealed_logs
-- A log is over once its attempt does not hold the item any more.
SELECT logs.item_id, logs.attempt, logs.name FROM logs
INNER JOIN items ON items.id = logs.item_id
WHERE
    logs.chunk_count > 1
    AND logs.size <= :size_limit
    AND NOT (items.lease_token IS NOT NULL AND items.attempt = logs.attempt)
ORDER BY logs.item_id, logs.attempt, logs.name
LIMIT :limit

-- name: digests_of_log
-- What a sealed chunk must stand for.
SELECT digest FROM log_chunks
WHERE item_id = :item_id AND attempt = :attempt AND name = :name
ORDER BY start_byte

-- name: delete_chunks
-- Their bytes are in the sealed chunk.
DELETE FROM log_chunks WHERE item_id = :item_id AND attempt = :attempt AND name = :name

-- name: seal_log
-- The size stays what it was.
UPDATE logs SET chunk_count = 1
WHERE item_id = :item_id AND attempt = :attempt AND name = :name

-- name: upsert_agent
-- An agent that registers again says all of itself anew, but what it was asked for stays asked.
INSERT INTO agents (
    id, user_name, hostname, version, state, queue_ids, queues, resources, run_as, slots,
    used_slots, facts, created_at, seen_at
) VALUES (
    :id, :user_name, :hostname, :version, :state, :queue_ids, :queues, :resources, :run_as,
    :slots, :used_slots, :facts, :created_at, :seen_at
) ON CONFLICT (id) DO UPDATE
SET
    user_name = excluded.user_name,
    hostname = excluded.hostname,
    version = excluded.version,
    state = CASE WHEN agents.state = 'draining' THEN agents.state ELSE excluded.state END,
    queue_ids = excluded.queue_ids,
    queues = excluded.queues,
    resources = excluded.resources,
    run_as = excluded.run_as,
    slots = excluded.slots,
    used_slots = excluded.used_slots,
    facts = excluded.facts,
    seen_at = excluded.seen_at

-- name: agent
-- By id.
SELECT {agent} FROM agents WHERE id = :id

-- name: find_agents
-- All of them: there are thousands at most.
SELECT {agent} FROM agents ORDER BY id

-- name: find_agents_of_queue
-- Those that look at a queue.
SELECT {agent} FROM agents
WHERE EXISTS (SELECT 1 FROM json_each(queue_ids) AS one WHERE one.value = :queue_id)
ORDER BY id

-- name: note_agent
-- The cheapest of an agent's writes, as it happens most often.
UPDATE agents SET used_slots = :used_slots, seen_at = :now WHERE id = :id

-- name: set_agent_facts
-- What changes while it runs; the rest is said when it registers.
UPDATE agents SET facts = :facts WHERE id = :id RETURNING {agent}

-- name: forget_agents
-- Away for so long that they would have to register anew anyway; what holds an item stays.
DELETE FROM agents
WHERE id IN (
    SELECT id FROM agents
    WHERE
        seen_at < :before
        AND NOT EXISTS (
            SELECT 1 FROM items
            WHERE items.lease_agent = agents.id AND items.lease_token IS NOT NULL
        )
    LIMIT :limit
)
RETURNING id

-- name: set_agent_state
-- What an agent is asked for; it reads it in the answer to its next call.
UPDATE agents SET state = :state WHERE id = :id RETURNING {agent}

-- name: insert_user
-- A known name answers with no row; Alice and alice are one.
INSERT INTO users (name, name_folded, role, entity, is_disabled, created_at)
VALUES (:name, :name_folded, :role, :entity, :is_disabled, :created_at)
ON CONFLICT DO NOTHING
RETURNING name

-- name: users
-- In order of name.
SELECT name, role, entity, is_disabled, created_at FROM users ORDER BY name

-- name: set_user_disabled
-- Users are never deleted: their items name them.
UPDATE users SET is_disabled = :is_disabled WHERE name = :name
RETURNING name, role, entity, is_disabled, created_at

-- name: insert_key
-- The hash alone; the key itself is shown once.
INSERT INTO keys (id, user_name, role, secret_hash, label, created_at, revoked_at)
VALUES (:id, :user_name, :role, :secret_hash, :label, :created_at, :revoked_at)

-- name: key_with_user
-- One look-up authenticates a request.
SELECT
    keys.id, keys.user_name, keys.role, keys.secret_hash, keys.label, keys.created_at,
    keys.revoked_at, users.name, users.role, users.entity, users.is_disabled, users.created_at
FROM keys
INNER JOIN users ON users.name = keys.user_name
WHERE keys.id = :id

-- name: keys
-- Newest first.
SELECT id, user_name, role, secret_hash, label, created_at, revoked_at FROM keys
ORDER BY created_at DESC, id DESC

-- name: revoke_key
-- The first revocation's time stands.
UPDATE keys SET revoked_at = coalesce(revoked_at, :now) WHERE id = :id
RETURNING id, user_name, role, secret_hash, label, created_at, revoked_at

-- name: delete_sessions_of_key
-- Who signed in with a key is out when it is revoked.
DELETE FROM sessions WHERE key_id = :key_id

-- name: delete_links_of_key
-- Neither may a link that was made with it let anybody in.
DELETE FROM signin_links WHERE key_id = :key_id

-- name: insert_session
-- The hash of what the cookie holds.
INSERT INTO sessions (id_hash, key_id, csrf, created_at, seen_at)
VALUES (:id_hash, :key_id, :csrf, :created_at, :seen_at)

-- name: session
-- How old one may be is the service's business.
SELECT id_hash, key_id, csrf, created_at, seen_at FROM sessions WHERE id_hash = :id_hash

-- name: note_session
-- Idle time counts from here.
UPDATE sessions SET seen_at = :now WHERE id_hash = :id_hash

-- name: delete_session
-- Signing out.
DELETE FROM sessions WHERE id_hash = :id_hash

-- name: insert_link
-- The hash of what the link holds.
INSERT INTO signin_links (id_hash, key_id, expires_at) VALUES (:id_hash, :key_id, :expires_at)

-- name: take_link
-- Deleting is what makes it work once.
DELETE FROM signin_links WHERE id_hash = :id_hash RETURNING key_id, expires_at

-- name: purge_sessions
-- A browser that never signs out leaves its row behind.
DELETE FROM sessions
WHERE id_hash IN (
    SELECT id_hash FROM sessions
    WHERE seen_at < :idle_since OR key_id IN (SELECT id FROM keys WHERE revoked_at IS NOT NULL)
    LIMIT :limit
)
RETURNING id_hash

-- name: purge_links
-- Most links are never used.
DELETE FROM signin_links
WHERE id_hash IN (
    SELECT id_hash FROM signin_links
    WHERE expires_at <= :now OR key_id IN (SELECT id FROM keys WHERE revoked_at IS NOT NULL)
    LIMIT :limit
)
RETURNING id_hash

-- name: insert_collection
-- A known name answers with no row.
INSERT INTO artifact_collections (
    entity, entity_folded, project, project_folded, name, type, description, tags, created_at,
    created_by
) VALUES (
    :entity, :entity_folded, :project, :project_folded, :name, :type, :description, :tags,
    :created_at, :created_by
) ON CONFLICT DO NOTHING
RETURNING seq

-- name: collection
-- By number: an artifact's own.
SELECT {collection} FROM artifact_collections WHERE seq = :seq

-- name: collection_by_name
-- By name: what people say.
SELECT {collection} FROM artifact_collections
WHERE
    entity_folded = :entity_folded
    AND project_folded = :project_folded
    AND name = :name
    AND deleted_at IS NULL

-- name: collections_of_project
-- In order of name; of every entity for an admin who names none.
SELECT {collection} FROM artifact_collections
WHERE
    (CAST(:entity_folded AS TEXT) IS NULL OR entity_folded = :entity_folded)
    AND (CAST(:project_folded AS TEXT) IS NULL OR project_folded = :project_folded)
    AND (CAST(:type AS TEXT) IS NULL OR type = :type)
    AND deleted_at IS NULL
ORDER BY project_folded, name, entity_folded
LIMIT :limit

-- name: artifact_types
-- A type is there as long as a collection of it is.
SELECT type, min(created_at) FROM artifact_collections
WHERE
    entity_folded = :entity_folded
    AND project_folded = :project_folded
    AND deleted_at IS NULL
GROUP BY type
ORDER BY type
LIMIT :limit

-- name: amend_collection
-- Whose it is never changes.
UPDATE artifact_collections
SET
    name = :name,
    type = :type,
    description = :description,
    tags = :tags,
    deleted_at = :deleted_at
WHERE seq = :seq

-- name: number_version
-- The row's lock keeps the numbers of several servers apart; a number never comes again.
UPDATE artifact_collections SET version_count = version_count + 1
WHERE seq = :seq
RETURNING version_count - 1

-- name: insert_artifact
-- It has no number yet.
INSERT INTO artifacts (
    collection_seq, state, digest, description, metadata, tags, history_step, wanted,
    client_id, distributed_id, run_seq, created_by, created_at, updated_at, expires_at
) VALUES (
    :collection_seq, :state, :digest, :description, :metadata, :tags, :history_step, :wanted,
    :client_id, :distributed_id, :run_seq, :created_by, :created_at, :updated_at, :expires_at
)
RETURNING seq

-- name: artifact
-- Deleted ones too.
SELECT {artifact} FROM artifacts WHERE seq = :seq

-- name: amend_artifact
-- Everything that may change.
UPDATE artifacts
SET
    digest = :digest,
    state = :state,
    version = :version,
    description = :description,
    metadata = :metadata,
    tags = :tags,
    wanted = :wanted,
    updated_at = :updated_at,
    manifest = :manifest,
    contents = :contents,
    file_count = :file_count,
    size = :size,
    job = :job,
    deleted_at = :deleted_at,
    expires_at = :expires_at
WHERE seq = :seq

-- name: artifacts_by_digest
-- The newest first; what is pending has no number and comes last.
SELECT {artifact} FROM artifacts
WHERE collection_seq = :collection_seq AND digest = :digest AND state <> 'deleted'
ORDER BY version IS NULL, version DESC, seq DESC
LIMIT :limit

-- name: artifact_of_parts
-- One that several processes make together.
SELECT {artifact} FROM artifacts
WHERE
    collection_seq = :collection_seq
    AND distributed_id = :distributed_id
    AND state = 'pending'
ORDER BY seq
LIMIT 1

-- name: artifact_by_version
-- A deleted version is none.
SELECT {artifact} FROM artifacts
WHERE collection_seq = :collection_seq AND version = :version AND state = 'committed'

-- name: artifacts_of_collection
-- The newest first.
SELECT {artifact} FROM artifacts
WHERE collection_seq = :collection_seq AND version < :before AND state = 'committed'
ORDER BY version DESC
LIMIT :limit

-- name: abandoned_artifacts
-- Reads the index of those that nobody committed.
SELECT {artifact} FROM artifacts
WHERE state = 'pending' AND updated_at < :before
ORDER BY updated_at
LIMIT :limit

-- name: expired_artifacts
-- Whose time to live is over.
SELECT {artifact} FROM artifacts
WHERE expires_at IS NOT NULL AND deleted_at IS NULL AND expires_at <= :now
ORDER BY expires_at
LIMIT :limit

-- name: artifacts_due
-- Reads the index of those that still have something.
SELECT seq FROM artifacts
WHERE deleted_at IS NOT NULL AND purged_at IS NULL AND deleted_at < :before
ORDER BY deleted_at
LIMIT :limit

-- name: count_artifacts_due
-- What a purge would do.
SELECT count(*) FROM artifacts
WHERE deleted_at IS NOT NULL AND purged_at IS NULL AND deleted_at < :before

-- name: purge_artifact_runs
-- A part at a time.
DELETE FROM artifact_runs
WHERE
    artifact_seq = :seq
    AND (run_seq, part) IN (
        SELECT run_seq, part FROM artifact_runs WHERE artifact_seq = :seq LIMIT :limit
    )
RETURNING run_seq

-- name: purge_artifact_manifests
-- A part at a time.
DELETE FROM artifact_manifests
WHERE seq IN (SELECT seq FROM artifact_manifests WHERE artifact_seq = :seq LIMIT :limit)
RETURNING seq

-- name: purge_artifact_clients
-- A part at a time.
DELETE FROM artifact_clients
WHERE
    artifact_seq = :seq
    AND (entity_folded, client_id) IN (
        SELECT entity_folded, client_id FROM artifact_clients
        WHERE artifact_seq = :seq
        LIMIT :limit
    )
RETURNING client_id

-- name: note_artifact_purge
-- The row itself stays, and its number used; the bytes go when nothing else leads to them.
UPDATE artifacts
SET
    purged_at = :now,
    description = NULL,
    metadata = NULL,
    manifest = NULL,
    contents = NULL,
    job = NULL
WHERE seq = :seq

-- name: artifact_of_alias
-- The version that an alias stands for.
SELECT artifact_seq FROM artifact_aliases
WHERE collection_seq = :collection_seq AND alias = :alias

-- name: aliases_of_artifact
-- In order.
SELECT alias FROM artifact_aliases WHERE artifact_seq = :artifact_seq ORDER BY alias

-- name: aliases_of_collection
-- In order.
SELECT alias, artifact_seq FROM artifact_aliases
WHERE collection_seq = :collection_seq
ORDER BY alias
LIMIT :limit

-- name: put_artifact_alias
-- It moves here from wherever it was.
INSERT INTO artifact_aliases (collection_seq, alias, artifact_seq)
VALUES (:collection_seq, :alias, :artifact_seq)
ON CONFLICT (collection_seq, alias) DO UPDATE SET artifact_seq = excluded.artifact_seq

-- name: delete_artifact_alias
-- Only if it is still this version's.
DELETE FROM artifact_aliases
WHERE collection_seq = :collection_seq AND alias = :alias AND artifact_seq = :artifact_seq

-- name: insert_manifest
-- Announced: its bytes are still to come.
INSERT INTO artifact_manifests (artifact_seq, kind, md5, base_seq)
VALUES (:artifact_seq, :kind, :checksum, :base_seq)
RETURNING seq

-- name: manifest
-- By number: what an address was signed for.
SELECT {manifest} FROM artifact_manifests WHERE seq = :seq

-- name: manifests_of_artifact
-- In the order in which they were announced.
SELECT {manifest} FROM artifact_manifests
WHERE artifact_seq = :artifact_seq
ORDER BY seq
LIMIT :limit

-- name: amend_manifest
-- Said again, or its bytes have come.
UPDATE artifact_manifests
SET md5 = :checksum, base_seq = :base_seq, digest = :digest
WHERE seq = :seq

-- name: link_artifact
-- The first time stands.
INSERT INTO artifact_runs (run_seq, part, artifact_seq, used_as, at)
VALUES (:run_seq, :part, :artifact_seq, :used_as, :at)
ON CONFLICT DO NOTHING

-- name: artifacts_of_run
-- In the order in which the run came to them, deleted ones left out.
SELECT {artifact} FROM artifacts
WHERE
    seq IN (SELECT artifact_seq FROM artifact_runs WHERE run_seq = :run_seq AND part = :part)
    AND state = 'committed'
ORDER BY seq
LIMIT :limit

-- name: runs_of_artifact
-- Those that were deleted are left out.
SELECT {run} FROM runs
WHERE
    seq IN (
        SELECT run_seq FROM artifact_runs WHERE artifact_seq = :artifact_seq AND part = :part
    )
    AND deleted_at IS NULL
ORDER BY seq
LIMIT :limit

-- name: put_artifact_client
-- The last one that a client named so.
INSERT INTO artifact_clients (entity_folded, client_id, artifact_seq)
VALUES (:entity_folded, :client_id, :artifact_seq)
ON CONFLICT (entity_folded, client_id) DO UPDATE SET artifact_seq = excluded.artifact_seq

-- name: artifact_of_client
-- Of this entity alone.
SELECT artifact_seq FROM artifact_clients
WHERE entity_folded = :entity_folded AND client_id = :client_id

-- name: missing_blobs
-- In the order asked, and of this entity alone.
SELECT wanted.value FROM json_each(:digests) AS wanted
WHERE NOT EXISTS (
    SELECT 1 FROM blobs
    WHERE blobs.entity_folded = :entity_folded AND blobs.digest = wanted.value
)
ORDER BY wanted.key

-- name: add_blob
-- A known one is as good as new: what it is stored for is about to lead to it.
-- Its MD5 is known of what came as a file of an artifact.
INSERT INTO blobs (entity_folded, digest, size, stored_at, md5)
VALUES (:entity_folded, :digest, :size, :stored_at, :checksum)
ON CONFLICT (entity_folded, digest) DO UPDATE
SET stored_at = excluded.stored_at, md5 = coalesce(excluded.md5, blobs.md5)
WHERE blobs.stored_at < excluded.stored_at OR (blobs.md5 IS NULL AND excluded.md5 IS NOT NULL)

-- name: blob_stored_at
-- When it was stored, or asked for by somebody who is about to use it.
SELECT stored_at FROM blobs WHERE entity_folded = :entity_folded AND digest = :digest

-- name: blobs_by_checksum
-- Of this entity alone: an MD5 of others leads to nothing.
SELECT blobs.md5, blobs.digest, blobs.size, blobs.stored_at
FROM json_each(:checksums) AS wanted
INNER JOIN blobs ON blobs.entity_folded = :entity_folded AND blobs.md5 = wanted.value

-- name: touch_blob
-- No row back: it is not there any more, and has to be sent again.
UPDATE blobs SET stored_at = :now
WHERE entity_folded = :entity_folded AND digest = :digest
RETURNING digest

-- name: forget_blob
-- Everybody's rows of a blob, unless somebody stored it, or asked for it, since.
DELETE FROM blobs WHERE digest = :digest AND stored_at < :before

-- name: references_of_items
-- What a spec names; a purged tombstone is never run again.
SELECT seq, spec, lock_digest FROM items
WHERE seq > :after AND purged_at IS NULL
ORDER BY seq
LIMIT :limit

-- name: stored_blobs
-- Whoever stored them.
SELECT DISTINCT digest FROM blobs WHERE digest > :after ORDER BY digest LIMIT :limit

-- name: references_of_files
-- What programs saved.
SELECT run_seq, path, digest FROM run_files
WHERE (run_seq, path) > (:run_seq, :path)
ORDER BY run_seq, path
LIMIT :limit

-- name: references_of_artifacts
-- Those that were deleted too, until they are purged.
SELECT seq, manifest, contents, job FROM artifacts
WHERE seq > :after AND purged_at IS NULL
ORDER BY seq
LIMIT :limit

-- name: references_of_chunks
-- What programs said.
SELECT item_id, attempt, name, start_byte, digest FROM log_chunks
WHERE (item_id, attempt, name, start_byte) > (:item_id, :attempt, :name, :start_byte)
ORDER BY item_id, attempt, name, start_byte
LIMIT :limit

-- name: tombstones_due
-- Reads the index of those that still have something.
SELECT items.id, runs.seq FROM items
LEFT JOIN runs
    ON
        runs.entity_folded = items.entity_folded
        AND runs.project_folded = items.project_folded
        AND runs.id = items.run_id
        AND runs.item_id = items.id
WHERE
    items.deleted_at IS NOT NULL
    AND items.purged_at IS NULL
    AND items.deleted_at < :before
    AND items.ended_at IS NOT NULL
ORDER BY items.deleted_at
LIMIT :limit

-- name: deleted_runs_due
-- Those that were deleted by themselves; reads the index of those that still have something.
SELECT seq FROM runs
WHERE deleted_at IS NOT NULL AND purged_at IS NULL AND deleted_at < :before
ORDER BY deleted_at
LIMIT :limit

-- name: count_deleted_runs_due
-- What a purge would do.
SELECT count(*) FROM runs
WHERE deleted_at IS NOT NULL AND purged_at IS NULL AND deleted_at < :before

-- name: note_run_purge
-- The row itself stays, and its id used.
UPDATE runs SET purged_at = :now WHERE seq = :run_seq

-- name: count_tombstones_due
-- What a purge would do.
SELECT count(*) FROM items
WHERE
    deleted_at IS NOT NULL
    AND purged_at IS NULL
    AND deleted_at < :before
    AND ended_at IS NOT NULL

-- name: purge_chunks
-- A part at a time: nobody waits for a long log.
DELETE FROM log_chunks
WHERE
    item_id = :item_id
    AND (attempt, name, start_byte) IN (
        SELECT attempt, name, start_byte FROM log_chunks WHERE item_id = :item_id LIMIT :limit
    )
RETURNING start_byte

-- name: purge_logs
-- Those whose chunks are gone.
DELETE FROM logs
WHERE
    item_id = :item_id
    AND (attempt, name) IN (
        SELECT attempt, name FROM logs AS one
        WHERE
            one.item_id = :item_id
            AND NOT EXISTS (
                SELECT 1 FROM log_chunks
                WHERE
                    log_chunks.item_id = one.item_id
                    AND log_chunks.attempt = one.attempt
                    AND log_chunks.name = one.name
            )
        LIMIT :limit
    )
RETURNING name

-- name: purge_history
-- A part at a time.
DELETE FROM run_history
WHERE
    run_seq = :run_seq
    AND number IN (SELECT number FROM run_history WHERE run_seq = :run_seq LIMIT :limit)
RETURNING number

-- name: purge_system
-- A part at a time.
DELETE FROM run_system
WHERE
    run_seq = :run_seq
    AND line IN (SELECT line FROM run_system WHERE run_seq = :run_seq LIMIT :limit)
RETURNING line

-- name: purge_console
-- A part at a time; the bytes go when nothing else leads to them.
DELETE FROM run_console
WHERE
    run_seq = :run_seq
    AND number IN (SELECT number FROM run_console WHERE run_seq = :run_seq LIMIT :limit)
RETURNING number

-- name: purge_files
-- A part at a time; the bytes go when nothing else leads to them.
DELETE FROM run_files
WHERE
    run_seq = :run_seq
    AND path IN (SELECT path FROM run_files WHERE run_seq = :run_seq LIMIT :limit)
RETURNING path

-- name: forget_run
-- Its id stays used.
UPDATE runs SET config = '{}', summary = '{}', facts = '{}', history_size = 0 WHERE seq = :run_seq

-- name: note_purge
-- The tombstone itself stays, and its idempotency key with it.
UPDATE items SET purged_at = :now WHERE id = :item_id

-- name: blob_size
-- None for one that only others stored.
SELECT size FROM blobs WHERE entity_folded = :entity_folded AND digest = :digest

-- name: blob_size_anywhere
-- For those who may read everybody's.
SELECT size FROM blobs WHERE digest = :digest LIMIT 1

-- name: lease_time
-- As of the last tick.
SELECT now FROM lease_clock WHERE id = 1

-- name: advance_lease_time
-- By monotonic differences, by one upkeep holder.
UPDATE lease_clock SET now = now + :by_ms WHERE id = 1 RETURNING now

-- name: insert_sweep
-- A known id answers with no row.
INSERT INTO sweeps (
    id, entity, entity_folded, project, project_folded, name, description, state, config, source,
    seed, controller, scheduler, created_by, created_at, updated_at
) VALUES (
    :id, :entity, :entity_folded, :project, :project_folded, :name, :description, :state, :config,
    :source, :seed, :controller, :scheduler, :created_by, :created_at, :updated_at
) ON CONFLICT DO NOTHING
RETURNING seq

-- name: sweep
-- By address: what people and programs say.
SELECT {sweep} FROM sweeps
WHERE entity_folded = :entity_folded AND project_folded = :project_folded AND id = :id

-- name: sweep_by_seq
-- What a worker belongs to.
SELECT {sweep} FROM sweeps WHERE seq = :seq

-- name: sweep_by_scheduler
-- Of a program that asks: may it act for its sweep?
SELECT {sweep} FROM sweeps WHERE scheduler_item = :item_id

-- name: hold_sweep
-- Locks the row until the commit: whoever takes the next combination or number comes here first.
UPDATE sweeps SET heard_at = coalesce(:heard_at, heard_at) WHERE seq = :seq RETURNING {sweep}

-- name: sweeps_of_project
-- Newest first.
SELECT {sweep} FROM sweeps
WHERE entity_folded = :entity_folded AND project_folded = :project_folded AND seq < :before_seq
ORDER BY seq DESC
LIMIT :limit

-- name: count_sweeps_of_project
-- As many as `sweeps_of_project` finds.
SELECT count(*) FROM sweeps
WHERE entity_folded = :entity_folded AND project_folded = :project_folded

-- name: amend_sweep
-- Everything that may change of a sweep but when it was heard of.
UPDATE sweeps
SET
    name = :name, description = :description, state = :state, config = :config, source = :source,
    cursor = :cursor, controller = :controller, scheduler = :scheduler,
    scheduler_item = :scheduler_item, scheduler_count = :scheduler_count, updated_at = :updated_at
WHERE seq = :seq

-- name: insert_sweep_agent
-- Ids are made by chance, and by nobody else.
INSERT INTO sweep_agents (id, sweep_seq, host, created_by, created_at, heard_at, deadline)
VALUES (:id, :sweep_seq, :host, :created_by, :created_at, :heard_at, :deadline)
RETURNING seq

-- name: sweep_agent
-- By the id that it was given.
SELECT {sweep_agent} FROM sweep_agents WHERE id = :id

-- name: sweep_agents_of
-- In the order in which they came.
SELECT {sweep_agent} FROM sweep_agents WHERE sweep_seq = :sweep_seq ORDER BY seq LIMIT :limit

-- name: hear_sweep_agent
-- One that was given up is there again.
UPDATE sweep_agents SET heard_at = :heard_at, deadline = :deadline WHERE seq = :seq

-- name: silent_sweep_agents
-- Reads the index of those that have to be heard of.
SELECT {sweep_agent} FROM sweep_agents
WHERE deadline IS NOT NULL AND deadline < :before
ORDER BY deadline
LIMIT :limit

-- name: give_up_sweep_agent
-- Until it is heard of again; one that another server heard of meanwhile answers with no row.
UPDATE sweep_agents SET deadline = NULL
WHERE seq = :seq AND deadline IS NOT NULL AND deadline < :before
RETURNING seq

-- name: extend_sweep_agents
-- After a time in which nobody could have been heard.
UPDATE sweep_agents SET deadline = :deadline WHERE deadline IS NOT NULL AND deadline < :deadline

-- name: insert_sweep_run
-- Numbers have no gaps: the sweep's row is locked.
INSERT INTO sweep_runs (run_seq, sweep_seq, number, agent_seq, is_given, gives)
SELECT
    CAST(:run_seq AS BIGINT), CAST(:sweep_seq AS BIGINT), coalesce(max(number), 0) + 1,
    CAST(:agent_seq AS BIGINT), CAST(:is_given AS BIGINT), CAST(:gives AS BIGINT)
FROM sweep_runs WHERE sweep_seq = :sweep_seq
RETURNING number

-- name: sweep_run
-- Of a run that reports.
SELECT {sweep_run} FROM {sweep_runs} WHERE sweep_runs.run_seq = :run_seq

-- name: runs_of_sweep
-- In order, after a number.
SELECT {sweep_run} FROM {sweep_runs}
WHERE sweep_runs.sweep_seq = :sweep_seq AND sweep_runs.number > :after
ORDER BY sweep_runs.number
LIMIT :limit

-- name: runs_of_sweep_agent
-- The last ones first; it may have had thousands.
SELECT {sweep_run} FROM {sweep_runs}
WHERE sweep_runs.agent_seq = :agent_seq
ORDER BY sweep_runs.number DESC
LIMIT :limit

-- name: free_sweep_run
-- The first that was given to a worker which is gone, before its program was heard of.
SELECT {sweep_run} FROM {sweep_runs}
WHERE
    sweep_runs.sweep_seq = :sweep_seq
    AND sweep_runs.agent_seq IS NULL
    AND sweep_runs.is_given = 1
    AND runs.item_id IS NULL
    AND runs.state = 'pending'
    AND runs.deleted_at IS NULL
ORDER BY sweep_runs.number
LIMIT 1

-- name: amend_sweep_run
-- What a worker's beat changes.
UPDATE sweep_runs SET agent_seq = :agent_seq, gives = :gives, is_heard = :is_heard
WHERE run_seq = :run_seq

-- name: measure_sweep_run
-- What a run's report changes.
UPDATE sweep_runs SET progress = :progress WHERE run_seq = :run_seq

-- name: count_sweep_runs
-- All of them, those that the sweep gave, and those that may still go on.
SELECT
    count(*),
    coalesce(sum(sweep_runs.is_given), 0),
    coalesce(sum(
        CASE
            WHEN runs.deleted_at IS NOT NULL THEN 0
            WHEN runs.item_id IS NULL AND runs.state IN ('pending', 'running') THEN 1
            WHEN items.state IN ('pending', 'leased', 'running') THEN 1
            ELSE 0
        END
    ), 0)
FROM {sweep_runs}
WHERE sweep_runs.sweep_seq = :sweep_seq

-- name: measured_sweep_runs
-- How the metrics of its runs go.
SELECT progress FROM sweep_runs
WHERE sweep_seq = :sweep_seq AND progress <> '{}'
ORDER BY number
LIMIT :limit

-- name: full_runs_of_sweep
-- In order, after a number; with all that they reported.
SELECT {run} FROM runs
WHERE
    deleted_at IS NULL
    AND seq IN (
        SELECT run_seq FROM sweep_runs
        WHERE sweep_seq = :sweep_seq AND number > :after AND number <= :until
    )
ORDER BY seq

-- name: configs_of_runs_from_before
-- What they report is not read: every run that a grid gives asks for them.
SELECT runs.config FROM sweep_runs
INNER JOIN runs ON runs.seq = sweep_runs.run_seq
WHERE sweep_runs.sweep_seq = :sweep_seq AND sweep_runs.is_given = 0 AND runs.deleted_at IS NULL
ORDER BY sweep_runs.number
LIMIT :limit

-- name: adopt_run
-- A sweep's run is there before its launch; a run that another launch took answers with no row.
UPDATE runs SET item_id = :item_id, config = :config, name = coalesce(:name, name)
WHERE seq = :seq AND item_id IS NULL AND state = 'pending' AND deleted_at IS NULL
RETURNING seq
