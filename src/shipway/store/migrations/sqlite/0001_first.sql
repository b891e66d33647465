-- The first schema; what its tables are for is said in ../../schema.sql.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE schema_migrations (
    number BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at BIGINT NOT NULL
);

CREATE TABLE lease_clock (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    now BIGINT NOT NULL CHECK (now >= 0)
);

CREATE TABLE users (
    name TEXT NOT NULL PRIMARY KEY,
    name_folded TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('admin', 'member', 'viewer', 'agent')),
    entity TEXT NOT NULL,
    is_disabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES users (name),
    role TEXT NOT NULL CHECK (role IN ('admin', 'member', 'viewer', 'agent')),
    secret_hash TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE sessions (
    id_hash TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES keys (id),
    csrf TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE INDEX sessions_of_key ON sessions (key_id);

CREATE TABLE signin_links (
    id_hash TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES keys (id),
    expires_at BIGINT NOT NULL
);

CREATE INDEX signin_links_of_key ON signin_links (key_id);

CREATE TABLE queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    entity TEXT NOT NULL,
    entity_folded TEXT NOT NULL,
    project TEXT NOT NULL,
    project_folded TEXT NOT NULL,
    name TEXT NOT NULL,
    resource TEXT NOT NULL,
    config TEXT NOT NULL,
    template_variables TEXT NOT NULL,
    has_priorities BOOLEAN NOT NULL,
    is_critical_for_admins BOOLEAN NOT NULL,
    is_paused BOOLEAN NOT NULL,
    on_lost TEXT NOT NULL CHECK (on_lost IN ('fail', 'retry')),
    on_lost_retries BIGINT NOT NULL CHECK (on_lost_retries >= 0),
    lost_after_s BIGINT NOT NULL CHECK (lost_after_s > 0),
    max_attempts BIGINT NOT NULL CHECK (max_attempts > 0),
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (entity_folded, project_folded, name)
);

CREATE TABLE items (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    queue_id BIGINT NOT NULL,
    queue TEXT NOT NULL,
    project_queue TEXT NOT NULL,
    entity TEXT NOT NULL,
    entity_folded TEXT NOT NULL,
    project TEXT NOT NULL,
    project_folded TEXT NOT NULL,
    run_id TEXT NOT NULL,
    name TEXT,
    author TEXT NOT NULL,
    submitted_by TEXT NOT NULL,
    sweep_id TEXT,
    priority BIGINT NOT NULL CHECK (priority BETWEEN 0 AND 3),
    rank BIGINT NOT NULL CHECK (rank BETWEEN 0 AND 3),
    resource TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attempt BIGINT NOT NULL DEFAULT 0,
    lost_count BIGINT NOT NULL DEFAULT 0 CHECK (lost_count >= 0),
    retry_count BIGINT NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    lease_token TEXT,
    lease_agent TEXT,
    lease_deadline BIGINT,
    lease_term BIGINT NOT NULL DEFAULT 0,
    lock_digest TEXT,
    handle TEXT,
    stop_requested_at BIGINT,
    stop_requested_by TEXT,
    stop_grace_s DOUBLE PRECISION,
    deleted_at BIGINT,
    leased_at BIGINT,
    started_at BIGINT,
    ended_at BIGINT,
    exit_code BIGINT,
    failure TEXT,
    retry_of TEXT,
    idempotency_key TEXT,
    body_hash TEXT,
    CONSTRAINT state_is_known
    CHECK (state IN ('pending', 'leased', 'running', 'finished', 'failed', 'stopped')),
    CONSTRAINT token_is_of_a_lease
    CHECK ((lease_token IS NOT NULL) = (state IN ('leased', 'running'))),
    CONSTRAINT lease_is_whole
    CHECK ((lease_token IS NOT NULL) = (lease_agent IS NOT NULL)
        AND (lease_token IS NOT NULL) = (lease_deadline IS NOT NULL)),
    CONSTRAINT end_is_of_a_terminal_state
    CHECK ((ended_at IS NOT NULL) = (state IN ('finished', 'failed', 'stopped'))),
    CONSTRAINT attempt_is_of_a_lease
    CHECK (attempt >= 0 AND (attempt > 0 OR state IN ('pending', 'stopped'))),
    CONSTRAINT key_has_its_body
    CHECK ((idempotency_key IS NOT NULL) = (body_hash IS NOT NULL))
);

CREATE UNIQUE INDEX items_by_key ON items (entity_folded, idempotency_key)
WHERE idempotency_key IS NOT NULL;

CREATE INDEX items_pending ON items (queue_id, resource, rank, seq)
WHERE state = 'pending' AND deleted_at IS NULL;

CREATE INDEX items_pending_of ON items (queue_id, resource, submitted_by, rank, seq)
WHERE state = 'pending' AND deleted_at IS NULL;

CREATE INDEX items_held ON items (lease_agent, lease_deadline) WHERE lease_token IS NOT NULL;

CREATE INDEX items_of_queue ON items (queue_id, state, seq) WHERE deleted_at IS NULL;

CREATE TABLE item_offers (
    item_id TEXT NOT NULL REFERENCES items (id),
    queue_id BIGINT NOT NULL,
    PRIMARY KEY (item_id, queue_id)
);

CREATE TABLE item_events (
    seq INTEGER PRIMARY KEY,
    item_id TEXT NOT NULL,
    queue_id BIGINT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    actor TEXT NOT NULL,
    at BIGINT NOT NULL,
    data TEXT NOT NULL
);

CREATE INDEX item_events_of_item ON item_events (item_id, seq);

CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    entity TEXT NOT NULL,
    entity_folded TEXT NOT NULL,
    project TEXT NOT NULL,
    project_folded TEXT NOT NULL,
    name TEXT,
    item_id TEXT,
    created_at BIGINT NOT NULL,
    config TEXT NOT NULL,
    summary TEXT NOT NULL,
    history_size BIGINT NOT NULL DEFAULT 0 CHECK (history_size >= 0)
);

CREATE UNIQUE INDEX runs_by_id ON runs (entity_folded, project_folded, id);

CREATE TABLE run_history (
    run_seq BIGINT NOT NULL REFERENCES runs (seq),
    number BIGINT NOT NULL,
    values_json TEXT NOT NULL,
    PRIMARY KEY (run_seq, number)
);

CREATE TABLE run_files (
    run_seq BIGINT NOT NULL REFERENCES runs (seq),
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    at BIGINT NOT NULL,
    PRIMARY KEY (run_seq, path)
);

CREATE TABLE logs (
    item_id TEXT NOT NULL REFERENCES items (id),
    attempt BIGINT NOT NULL CHECK (attempt > 0),
    name TEXT NOT NULL,
    size BIGINT NOT NULL CHECK (size > 0),
    chunk_count BIGINT NOT NULL CHECK (chunk_count > 0),
    PRIMARY KEY (item_id, attempt, name)
);

CREATE INDEX logs_in_pieces ON logs (item_id, attempt, name) WHERE chunk_count > 1;

CREATE TABLE log_chunks (
    item_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    name TEXT NOT NULL,
    start_byte BIGINT NOT NULL CHECK (start_byte >= 0),
    length BIGINT NOT NULL CHECK (length > 0),
    digest TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (item_id, attempt, name, start_byte),
    FOREIGN KEY (item_id, attempt, name) REFERENCES logs (item_id, attempt, name)
);

CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    user_name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'draining', 'stopping', 'gone')),
    queue_ids TEXT NOT NULL,
    queues TEXT NOT NULL,
    resources TEXT NOT NULL,
    run_as TEXT NOT NULL CHECK (run_as IN ('self', 'shared')),
    slots BIGINT NOT NULL,
    used_slots BIGINT NOT NULL,
    facts TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE TABLE jobs (
    entity TEXT NOT NULL,
    entity_folded TEXT NOT NULL,
    project TEXT NOT NULL,
    project_folded TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 0),
    kind TEXT NOT NULL CHECK (kind IN ('git', 'code', 'image')),
    source TEXT NOT NULL,
    entry_point TEXT,
    args TEXT NOT NULL,
    run_config TEXT NOT NULL,
    resource TEXT,
    resource_args TEXT NOT NULL,
    python TEXT,
    description TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (entity_folded, project_folded, name_folded, version)
);

CREATE TABLE job_aliases (
    entity_folded TEXT NOT NULL,
    project_folded TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (entity_folded, project_folded, name_folded, alias),
    FOREIGN KEY (entity_folded, project_folded, name_folded, version)
    REFERENCES jobs (entity_folded, project_folded, name_folded, version)
);

CREATE TABLE blobs (
    entity_folded TEXT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    stored_at BIGINT NOT NULL,
    PRIMARY KEY (entity_folded, digest)
);

-- For those who may read everybody's blobs.
CREATE INDEX blobs_by_digest ON blobs (digest);

INSERT INTO meta (name, value) VALUES ('format', 'shipway');

INSERT INTO lease_clock (id, now) VALUES (1, 0);
