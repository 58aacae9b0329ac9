-- One dialect for SQLite and PostgreSQL. SQLite gives UUID numeric affinity, and a UUID's text is no number, so it
-- stays text. Times are wall milliseconds. What was applied once must not change: add a new file.
CREATE TABLE pools (
        pool_name  TEXT PRIMARY KEY,
        settings   TEXT NOT NULL,
        updated_at BIGINT NOT NULL
);

-- No index on what an update writes: PostgreSQL can then update in place.
CREATE TABLE agents (
        agent_id           UUID PRIMARY KEY,
        project_id         UUID,
        pool_name          TEXT NOT NULL,
        role_type          TEXT NOT NULL,
        state              TEXT NOT NULL,
        labels             TEXT,
        args               TEXT,
        last_exit          TEXT,
        master_id          TEXT,
        epoch              BIGINT NOT NULL,
        heartbeat_interval BIGINT NOT NULL,
        max_idle_time      BIGINT NOT NULL,
        restarts           BIGINT NOT NULL,
        created_at         BIGINT NOT NULL,
        updated_at         BIGINT NOT NULL
);
CREATE INDEX agents_by_pool ON agents (pool_name, created_at, agent_id);

CREATE TABLE agent_executions (
        execution_id UUID PRIMARY KEY,
        agent_id     UUID,
        project_id   UUID,
        pool_name    TEXT NOT NULL,
        method       TEXT,
        status       TEXT NOT NULL,
        error        TEXT,
        started_at   BIGINT NOT NULL,
        completed_at BIGINT,
        duration_ms  BIGINT NOT NULL
);
CREATE INDEX agent_executions_by_start ON agent_executions (started_at, execution_id);
CREATE INDEX agent_executions_by_agent ON agent_executions (agent_id, started_at, execution_id);
CREATE INDEX agent_executions_by_project ON agent_executions (project_id, started_at, execution_id);

-- event_id is a version 7 UUID made from "at": its order is the order of time.
CREATE TABLE agent_events (
        event_id   UUID PRIMARY KEY,
        at         BIGINT NOT NULL,
        pool_name  TEXT,
        event      TEXT NOT NULL,
        detail     TEXT,
        agent_id   UUID,
        process_id UUID,
        epoch      BIGINT NOT NULL
);
CREATE INDEX agent_events_by_agent ON agent_events (agent_id, event_id);

-- request_id tells a repeated insert (its first answer was lost) from another request with the same key.
CREATE TABLE idempotency_keys (
        scope       TEXT NOT NULL,
        key         TEXT NOT NULL,
        request_id  UUID NOT NULL,
        body_sha256 TEXT NOT NULL,
        answer      TEXT,
        status      BIGINT NOT NULL,
        created_at  BIGINT NOT NULL,
        expires_at  BIGINT NOT NULL,
        PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

CREATE TABLE pool_metrics (
        pool_name     TEXT NOT NULL,
        at            BIGINT NOT NULL,
        capacity      BIGINT NOT NULL,
        used          BIGINT NOT NULL,
        agents        BIGINT NOT NULL,
        workers       BIGINT NOT NULL,
        executions    BIGINT NOT NULL,
        executions_ok BIGINT NOT NULL,
        PRIMARY KEY (pool_name, at)
);
CREATE INDEX pool_metrics_by_time ON pool_metrics (at);
