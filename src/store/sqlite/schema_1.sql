-- Moments are nanoseconds since 1970. Columns of JSON hold {"v":1,"body":…}, but for metadata,
-- which is a plain object of strings. `bytes` is roughly what a row stands for.

-- What each tenant holds, kept by the triggers below.
CREATE TABLE tenants (
    tenant   TEXT PRIMARY KEY NOT NULL,
    sessions INTEGER NOT NULL DEFAULT 0,
    bytes    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    number         INTEGER PRIMARY KEY,
    tenant         TEXT NOT NULL,
    id             TEXT NOT NULL,
    model          TEXT NOT NULL,
    asked          TEXT,
    moved_from     TEXT,
    moved_to       TEXT,
    created_at     INTEGER NOT NULL,
    last_active    INTEGER NOT NULL,
    turns          INTEGER NOT NULL,
    -- Messages stand at the positions from `dropped` to before `end`.
    dropped        INTEGER NOT NULL,
    "end"          INTEGER NOT NULL,
    branches       INTEGER NOT NULL,
    message_bytes  INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    -- The digest by which a client that resends its transcript finds the session.
    head           BLOB,
    metadata       TEXT,
    system         TEXT,
    upstream       TEXT,
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX sessions_of_tenant ON sessions (tenant, last_active, id);
CREATE INDEX sessions_by_age ON sessions (last_active, id);
CREATE INDEX sessions_by_head ON sessions (head) WHERE head IS NOT NULL;

-- What was said. `rest` is all of a message but a text that is all there is to it.
CREATE TABLE messages (
    session  INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    role     TEXT NOT NULL,
    status   TEXT NOT NULL,
    text     TEXT,
    rest     TEXT,
    PRIMARY KEY (session, position)
) STRICT, WITHOUT ROWID;

-- Which turn brought which messages: those from the end of the mark before to this one's.
-- `place` tells marks apart that end at the same position.
CREATE TABLE marks (
    session     INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
    "end"       INTEGER NOT NULL,
    place       INTEGER NOT NULL,
    turn        TEXT NOT NULL,
    is_answered INTEGER NOT NULL,
    PRIMARY KEY (session, "end", place)
) STRICT, WITHOUT ROWID;

CREATE TABLE turns (
    number        INTEGER PRIMARY KEY,
    tenant        TEXT NOT NULL,
    id            TEXT NOT NULL,
    session       TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('running', 'ended')),
    model         TEXT NOT NULL,
    agent         TEXT,
    agent_alias   TEXT,
    created       INTEGER NOT NULL,
    ended         INTEGER,
    previous      TEXT,
    is_kept       INTEGER NOT NULL,
    is_background INTEGER NOT NULL,
    -- Whether the turn may go by itself: it is not to be kept, or its session was not there.
    may_go        INTEGER NOT NULL,
    -- The client's own name for the request, and a digest of the request.
    idempotency   TEXT,
    fingerprint   BLOB,
    events        INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    said          TEXT NOT NULL,
    echo          TEXT,
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX turns_of_session ON turns (tenant, session);
CREATE INDEX turns_running ON turns (created) WHERE state = 'running';
CREATE INDEX turns_to_go ON turns (ended) WHERE may_go = 1;
CREATE UNIQUE INDEX turns_by_name ON turns (tenant, idempotency) WHERE idempotency IS NOT NULL;

-- What happened in a turn, in runs: `first` is the number of the run's first event.
CREATE TABLE turn_events (
    turn   INTEGER NOT NULL REFERENCES turns (number) ON DELETE CASCADE,
    first  INTEGER NOT NULL,
    events TEXT NOT NULL,
    PRIMARY KEY (turn, first)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER session_added AFTER INSERT ON sessions BEGIN
    INSERT INTO tenants (tenant) VALUES (new.tenant) ON CONFLICT DO NOTHING;
    UPDATE tenants SET sessions = sessions + 1, bytes = bytes + new.bytes
        WHERE tenant = new.tenant;
END;

CREATE TRIGGER session_grown AFTER UPDATE OF bytes ON sessions WHEN new.bytes <> old.bytes BEGIN
    UPDATE tenants SET bytes = bytes + new.bytes - old.bytes WHERE tenant = new.tenant;
END;

CREATE TRIGGER session_removed AFTER DELETE ON sessions BEGIN
    UPDATE tenants SET sessions = sessions - 1, bytes = bytes - old.bytes
        WHERE tenant = old.tenant;
    DELETE FROM tenants WHERE tenant = old.tenant AND sessions = 0 AND bytes = 0;
END;

CREATE TRIGGER turn_added AFTER INSERT ON turns BEGIN
    INSERT INTO tenants (tenant) VALUES (new.tenant) ON CONFLICT DO NOTHING;
    UPDATE tenants SET bytes = bytes + new.bytes WHERE tenant = new.tenant;
END;

CREATE TRIGGER turn_grown AFTER UPDATE OF bytes ON turns WHEN new.bytes <> old.bytes BEGIN
    UPDATE tenants SET bytes = bytes + new.bytes - old.bytes WHERE tenant = new.tenant;
END;

CREATE TRIGGER turn_removed AFTER DELETE ON turns BEGIN
    UPDATE tenants SET bytes = bytes - old.bytes WHERE tenant = old.tenant;
    DELETE FROM tenants WHERE tenant = old.tenant AND sessions = 0 AND bytes = 0;
END;

-- For people: what was said, by whom, in which turn.
CREATE VIEW transcripts AS
    SELECT
        sessions.tenant,
        sessions.id AS session,
        messages.position,
        (
            SELECT marks.turn FROM marks
            WHERE marks.session = messages.session AND marks."end" > messages.position
            ORDER BY marks."end", marks.place LIMIT 1
        ) AS turn,
        EXISTS (
            SELECT 1 FROM marks
            WHERE marks.session = messages.session AND marks."end" = messages.position + 1
                AND marks.is_answered
        ) AS is_answer,
        messages.role,
        messages.status,
        messages.text,
        messages.rest
    FROM sessions JOIN messages ON messages.session = sessions.number;

-- For people: who spoke when.
CREATE VIEW activity AS
    SELECT
        tenant,
        id AS session,
        model,
        turns,
        datetime(created_at / 1000000000, 'unixepoch') AS created_at,
        datetime(last_active / 1000000000, 'unixepoch') AS last_active,
        bytes
    FROM sessions;
