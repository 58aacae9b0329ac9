-- One row: which database this is (database_id, for ever) and which daemon it belongs to. renewals grows with every sign
-- of life; who waits for the database watches it, because clocks of two machines need not agree.
CREATE TABLE store_owner (
        one         BIGINT PRIMARY KEY,
        database_id UUID NOT NULL,
        life        UUID,
        daemon_id   UUID,
        host        TEXT,
        pid         BIGINT,
        run_dir     TEXT,
        url         TEXT,
        renewals    BIGINT NOT NULL,
        renewed_at  BIGINT NOT NULL
);
