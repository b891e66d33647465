-- A job made here has its files once a client asked for them.
ALTER TABLE artifacts DROP CONSTRAINT committed_is_whole;

ALTER TABLE artifacts ADD CONSTRAINT committed_is_whole
CHECK (state <> 'committed'
    OR (version IS NOT NULL
        AND (job IS NOT NULL OR (manifest IS NOT NULL AND contents IS NOT NULL))));

ALTER TABLE artifacts ADD COLUMN expires_at BIGINT;

-- What has a time to live, the one that ends first before the others.
CREATE INDEX artifacts_to_expire ON artifacts (expires_at)
WHERE expires_at IS NOT NULL AND deleted_at IS NULL;

-- Jobs that were not artifacts become some: a name is a collection, a version an artifact. A name
-- that an artifact has already gets an ending.
CREATE TEMPORARY TABLE moved_jobs AS
SELECT
    jobs.entity,
    jobs.entity_folded,
    jobs.project,
    jobs.project_folded,
    jobs.name_folded,
    jobs.version + 1 AS version_count,
    jobs.created_at,
    jobs.created_by,
    CASE WHEN EXISTS (
        SELECT 1 FROM artifact_collections AS known
        WHERE
            known.entity_folded = jobs.entity_folded
            AND known.project_folded = jobs.project_folded
            AND known.name = jobs.name
            AND known.deleted_at IS NULL
    ) THEN jobs.name || '-job-of-shipway' ELSE jobs.name END AS name
FROM jobs
WHERE jobs.version = (
    SELECT max(newer.version) FROM jobs AS newer
    WHERE
        newer.entity_folded = jobs.entity_folded
        AND newer.project_folded = jobs.project_folded
        AND newer.name_folded = jobs.name_folded
);

INSERT INTO artifact_collections (
    entity, entity_folded, project, project_folded, name, type, tags, version_count, created_at,
    created_by
)
SELECT
    entity, entity_folded, project, project_folded, name, 'job', '[]', version_count, created_at,
    created_by
FROM moved_jobs;

INSERT INTO artifacts (
    collection_seq, state, digest, version, description, tags, wanted, created_by, created_at,
    updated_at, job
)
SELECT
    collections.seq,
    'committed',
    '',
    jobs.version,
    nullif(jobs.description, ''),
    '[]',
    '[]',
    jobs.created_by,
    jobs.created_at,
    jobs.created_at,
    '{"kind":"' || jobs.kind || '","source":' || jobs.source
    || ',"args":' || jobs.args || ',"run_config":' || jobs.run_config
    || ',"resource_args":' || jobs.resource_args
    || coalesce(',"entry_point":' || jobs.entry_point, '')
    || coalesce(',"resource":' || to_json(jobs.resource)::TEXT, '')
    || coalesce(',"python":' || to_json(jobs.python)::TEXT, '')
    || '}'
FROM jobs
JOIN moved_jobs AS moved
    ON
        moved.entity_folded = jobs.entity_folded
        AND moved.project_folded = jobs.project_folded
        AND moved.name_folded = jobs.name_folded
JOIN artifact_collections AS collections
    ON
        collections.entity_folded = moved.entity_folded
        AND collections.project_folded = moved.project_folded
        AND collections.name = moved.name
        AND collections.deleted_at IS NULL;

INSERT INTO artifact_aliases (collection_seq, alias, artifact_seq)
SELECT artifacts.collection_seq, job_aliases.alias, artifacts.seq
FROM job_aliases
JOIN moved_jobs AS moved
    ON
        moved.entity_folded = job_aliases.entity_folded
        AND moved.project_folded = job_aliases.project_folded
        AND moved.name_folded = job_aliases.name_folded
JOIN artifact_collections AS collections
    ON
        collections.entity_folded = moved.entity_folded
        AND collections.project_folded = moved.project_folded
        AND collections.name = moved.name
        AND collections.deleted_at IS NULL
JOIN artifacts
    ON
        artifacts.collection_seq = collections.seq
        AND artifacts.version = job_aliases.version;

DROP TABLE moved_jobs;

DROP TABLE job_aliases;

DROP TABLE jobs;
