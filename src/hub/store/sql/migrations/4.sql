-- Generations of tunnels: devices beside the one in an instance's row, and site peers that change from one to another.

-- The number of the device whose port and key stand in this row, how many were given out, and since when it has that key.
ALTER TABLE instance ADD COLUMN device BIGINT NOT NULL DEFAULT 0;
ALTER TABLE instance ADD COLUMN devices BIGINT NOT NULL DEFAULT 1;
ALTER TABLE instance ADD COLUMN key_at BIGINT;
-- While its site peers follow to another gateway key.
ALTER TABLE instance ADD COLUMN rotating_since BIGINT;
-- Site peers get another key when theirs is older; NULL is never.
ALTER TABLE instance ADD COLUMN rotate_days BIGINT;
CREATE INDEX instance_rotating ON instance (id) WHERE rotating_since IS NOT NULL;
CREATE INDEX instance_rotates ON instance (id) WHERE rotate_days IS NOT NULL;

CREATE TABLE device (
    instance TEXT NOT NULL REFERENCES instance (id),
    number BIGINT NOT NULL,
    gateway TEXT NOT NULL,
    -- coming (to be the instance's), beside (for keys of routers), retired (still used), leaving
    state TEXT NOT NULL,
    listen_port BIGINT NOT NULL,
    public_key TEXT,
    error TEXT,
    -- The gateway's revision of its last change: one that leaves has its port until the gateway has that.
    revision BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (instance, number)
);
CREATE UNIQUE INDEX device_port ON device (gateway, listen_port);

-- Which device, which tunnel in a row (and how many were given out), from which revision of the agent's on, since when its key.
ALTER TABLE peer ADD COLUMN device BIGINT NOT NULL DEFAULT 0;
ALTER TABLE peer ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE peer ADD COLUMN generations BIGINT NOT NULL DEFAULT 0;
ALTER TABLE peer ADD COLUMN generation_revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE peer ADD COLUMN key_at BIGINT;
-- When somebody last cancelled a change: nobody but a person begins it again.
ALTER TABLE peer ADD COLUMN cancelled_at BIGINT;
CREATE INDEX peer_device ON peer (instance, device);

CREATE TABLE moving (
    peer TEXT PRIMARY KEY REFERENCES peer (id),
    instance TEXT NOT NULL,
    generation BIGINT NOT NULL,
    device BIGINT NOT NULL,
    public_key TEXT,
    -- device, router, proof, grace
    step TEXT NOT NULL,
    -- person, agent, instance, policy
    cause TEXT NOT NULL,
    -- The agent's revision that told of it.
    told BIGINT NOT NULL,
    since BIGINT NOT NULL,
    step_at BIGINT NOT NULL,
    due_ms BIGINT
);
CREATE UNIQUE INDEX moving_key ON moving (instance, public_key);
CREATE INDEX moving_device ON moving (instance, device);
CREATE INDEX moving_due ON moving (due_ms) WHERE due_ms IS NOT NULL;
