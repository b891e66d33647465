-- What clients that track a run by themselves say of it, and how far it is from being given up.
ALTER TABLE runs ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
ALTER TABLE runs ADD COLUMN created_by TEXT;
ALTER TABLE runs ADD COLUMN exit_code BIGINT;
ALTER TABLE runs ADD COLUMN heard_at BIGINT;
ALTER TABLE runs ADD COLUMN deadline BIGINT;
ALTER TABLE runs ADD COLUMN stop_requested_at BIGINT;
ALTER TABLE runs ADD COLUMN deleted_at BIGINT;
ALTER TABLE runs ADD COLUMN purged_at BIGINT;
ALTER TABLE runs ADD COLUMN state TEXT CHECK (state IN ('pending', 'running', 'finished', 'failed', 'crashed', 'stopped'));

-- Runs that have to be heard of: as many entries as such runs go on.
CREATE INDEX runs_by_deadline ON runs (deadline) WHERE deadline IS NOT NULL;

-- Deleted runs that still have something, the oldest first.
CREATE INDEX runs_to_purge ON runs (deleted_at) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;

-- A client numbers its lines by itself, and repeats them; other writers have no lines.
ALTER TABLE run_history ADD COLUMN line BIGINT;
ALTER TABLE run_history ADD COLUMN step BIGINT;

CREATE UNIQUE INDEX run_history_lines ON run_history (run_seq, line) WHERE line IS NOT NULL;

-- Pages of a history go by steps; rows of earlier versions have none.
CREATE INDEX run_history_steps ON run_history (run_seq, coalesce(step, number));

ALTER TABLE run_files ADD COLUMN md5 TEXT;

CREATE TABLE run_system (
    run_seq BIGINT NOT NULL REFERENCES runs (seq),
    line BIGINT NOT NULL,
    values_json TEXT NOT NULL,
    PRIMARY KEY (run_seq, line)
);

-- Each chunk is a blob of whole lines; a later one takes the place of the lines that it names.
CREATE TABLE run_console (
    run_seq BIGINT NOT NULL REFERENCES runs (seq),
    number BIGINT NOT NULL,
    first_line BIGINT NOT NULL CHECK (first_line >= 0),
    line_count BIGINT NOT NULL CHECK (line_count > 0),
    digest TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run_seq, number)
);
