-- Files of artifacts are asked for by the MD5s that their clients count.
ALTER TABLE blobs ADD COLUMN md5 TEXT;

CREATE INDEX blobs_by_md5 ON blobs (entity_folded, md5) WHERE md5 IS NOT NULL;

-- Versions under one name, of one type. A deleted one's name is free; its row stays.
CREATE TABLE artifact_collections (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity TEXT NOT NULL,
    entity_folded TEXT NOT NULL,
    project TEXT NOT NULL,
    project_folded TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT,
    tags TEXT NOT NULL,
    version_count BIGINT NOT NULL DEFAULT 0 CHECK (version_count >= 0),
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    deleted_at BIGINT
);

CREATE UNIQUE INDEX artifact_collections_by_name
ON artifact_collections (entity_folded, project_folded, name) WHERE deleted_at IS NULL;

-- A version; its files are in the blob `contents`, for clients in the blob `manifest`.
CREATE TABLE artifacts (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_seq BIGINT NOT NULL REFERENCES artifact_collections (seq),
    state TEXT NOT NULL CHECK (state IN ('pending', 'committed', 'deleted')),
    digest TEXT NOT NULL,
    version BIGINT CHECK (version >= 0),
    description TEXT,
    metadata TEXT,
    tags TEXT NOT NULL,
    history_step BIGINT,
    wanted TEXT NOT NULL,
    client_id TEXT,
    distributed_id TEXT,
    run_seq BIGINT,
    created_by TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    manifest TEXT,
    contents TEXT,
    file_count BIGINT NOT NULL DEFAULT 0,
    size BIGINT NOT NULL DEFAULT 0,
    job TEXT,
    deleted_at BIGINT,
    purged_at BIGINT,
    CONSTRAINT committed_is_whole
    CHECK (state <> 'committed'
        OR (version IS NOT NULL AND manifest IS NOT NULL AND contents IS NOT NULL))
);

CREATE UNIQUE INDEX artifacts_by_version ON artifacts (collection_seq, version)
WHERE version IS NOT NULL;

-- What is logged again is found by its digest.
CREATE INDEX artifacts_by_digest ON artifacts (collection_seq, digest);

-- What nobody committed, and what was deleted and still has something, the oldest first.
CREATE INDEX artifacts_pending ON artifacts (updated_at) WHERE state = 'pending';

CREATE INDEX artifacts_to_purge ON artifacts (deleted_at)
WHERE deleted_at IS NOT NULL AND purged_at IS NULL;

-- An alias is one version's at a time.
CREATE TABLE artifact_aliases (
    collection_seq BIGINT NOT NULL REFERENCES artifact_collections (seq),
    alias TEXT NOT NULL,
    artifact_seq BIGINT NOT NULL REFERENCES artifacts (seq),
    PRIMARY KEY (collection_seq, alias)
);

CREATE INDEX artifact_aliases_of ON artifact_aliases (artifact_seq);

-- What clients announced and sent; a commit makes one whole of them.
CREATE TABLE artifact_manifests (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    artifact_seq BIGINT NOT NULL REFERENCES artifacts (seq),
    kind TEXT NOT NULL CHECK (kind IN ('full', 'patch', 'incremental')),
    md5 TEXT NOT NULL,
    base_seq BIGINT,
    digest TEXT
);

CREATE INDEX artifact_manifests_of ON artifact_manifests (artifact_seq, seq);

-- Which runs logged and used what.
CREATE TABLE artifact_runs (
    run_seq BIGINT NOT NULL,
    part TEXT NOT NULL CHECK (part IN ('input', 'output')),
    artifact_seq BIGINT NOT NULL REFERENCES artifacts (seq),
    used_as TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (run_seq, part, artifact_seq)
);

CREATE INDEX artifact_runs_of ON artifact_runs (artifact_seq, part);

-- Clients name what they log before this server does.
CREATE TABLE artifact_clients (
    entity_folded TEXT NOT NULL,
    client_id TEXT NOT NULL,
    artifact_seq BIGINT NOT NULL REFERENCES artifacts (seq),
    PRIMARY KEY (entity_folded, client_id)
);

CREATE INDEX artifact_clients_of ON artifact_clients (artifact_seq);

-- Runs of a project are listed in order, from either end.
CREATE INDEX runs_of_project ON runs (entity_folded, project_folded, seq);
