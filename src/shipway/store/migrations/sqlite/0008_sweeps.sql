-- Many runs of one program whose parameters a search chooses. `cursor` counts suggestions.
CREATE TABLE sweeps (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    entity TEXT NOT NULL,
    entity_folded TEXT NOT NULL,
    project TEXT NOT NULL,
    project_folded TEXT NOT NULL,
    name TEXT,
    description TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'paused', 'finished', 'canceled')),
    config TEXT NOT NULL,
    source TEXT NOT NULL,
    seed BIGINT NOT NULL,
    cursor BIGINT NOT NULL DEFAULT 0 CHECK (cursor >= 0),
    controller TEXT,
    scheduler TEXT,
    scheduler_item TEXT,
    scheduler_count BIGINT NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    heard_at BIGINT
);

CREATE UNIQUE INDEX sweeps_by_id ON sweeps (entity_folded, project_folded, id);

-- Of each program's key it is asked whether it schedules a sweep.
CREATE INDEX sweeps_by_scheduler ON sweeps (scheduler_item) WHERE scheduler_item IS NOT NULL;

-- Workers that ask for a sweep's runs; one without a deadline was given up.
CREATE TABLE sweep_agents (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    sweep_seq BIGINT NOT NULL REFERENCES sweeps (seq),
    host TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    heard_at BIGINT NOT NULL,
    deadline BIGINT
);

CREATE INDEX sweep_agents_of ON sweep_agents (sweep_seq, seq);

CREATE INDEX sweep_agents_by_deadline ON sweep_agents (deadline) WHERE deadline IS NOT NULL;

-- A run's place in its sweep, the worker that it was given to last, and how its metric goes.
CREATE TABLE sweep_runs (
    run_seq BIGINT NOT NULL PRIMARY KEY REFERENCES runs (seq),
    sweep_seq BIGINT NOT NULL REFERENCES sweeps (seq),
    number BIGINT NOT NULL CHECK (number > 0),
    agent_seq BIGINT REFERENCES sweep_agents (seq),
    is_given BIGINT NOT NULL CHECK (is_given IN (0, 1)),
    gives BIGINT NOT NULL DEFAULT 0,
    is_heard BIGINT NOT NULL DEFAULT 0 CHECK (is_heard IN (0, 1)),
    progress TEXT NOT NULL DEFAULT '{}'
);

CREATE UNIQUE INDEX sweep_runs_by_number ON sweep_runs (sweep_seq, number);

CREATE INDEX sweep_runs_of_agent ON sweep_runs (agent_seq) WHERE agent_seq IS NOT NULL;
