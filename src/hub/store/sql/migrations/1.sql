-- What the hub keeps. One text for SQLite and PostgreSQL: only BIGINT, TEXT and bytes; booleans are 0 and 1, times Unix seconds
-- unless a name ends in _ms, lists and facts are JSON. @BYTES@ stands for the dialect's type of bytes, @NUMBER@ for a key that counts up.

CREATE TABLE account (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    max_instances BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

-- A token that was taken back stays, without effect, so that its use can be told from a guess.
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    account TEXT,
    -- The only region of a gateway's token.
    region TEXT,
    hash @BYTES@ NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX token_account ON token (account, id);

CREATE TABLE site (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    device TEXT,
    device_at BIGINT,
    board TEXT,
    serial TEXT,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (account, name)
);
CREATE INDEX site_account ON site (account, id);
CREATE INDEX site_serial ON site (account, serial, id) WHERE serial IS NOT NULL;

CREATE TABLE gateway (
    id TEXT PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    public_host TEXT NOT NULL,
    backend TEXT NOT NULL,
    software TEXT NOT NULL,
    -- Tells two hosts with one token apart.
    install TEXT NOT NULL,
    -- Bumped by every change that concerns it, under the lock of this row: revisions are committed in their order.
    revision BIGINT NOT NULL,
    -- Removals up to here are forgotten.
    floor BIGINT NOT NULL
);
CREATE INDEX gateway_region ON gateway (region);

-- Apart from `gateway`, so that a report never waits for a change, nor a change for a report.
CREATE TABLE gateway_seen (
    gateway TEXT PRIMARY KEY REFERENCES gateway (id),
    seen_at BIGINT,
    applied_revision BIGINT NOT NULL,
    epoch TEXT NOT NULL,
    number BIGINT NOT NULL,
    -- While it is told everything in parts: where the last part ended. Such a one misses no removal, however old.
    filling BIGINT
);

CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    hostname TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    suspended BIGINT NOT NULL,
    -- deploying, active, error
    state TEXT NOT NULL,
    reason TEXT,
    gateway TEXT REFERENCES gateway (id),
    asked_port BIGINT,
    listen_port BIGINT,
    tunnel4 TEXT NOT NULL,
    tunnel6 TEXT,
    dns TEXT NOT NULL,
    search TEXT NOT NULL,
    pushed TEXT NOT NULL,
    client_to_client BIGINT NOT NULL,
    site_to_site BIGINT NOT NULL,
    public_key TEXT,
    -- What sites may reach, as it was last told; and since when, and until when, a change of it waits.
    reach TEXT NOT NULL,
    reach_since_ms BIGINT,
    reach_due_ms BIGINT,
    -- Counts changes for agents; the one that concerned all of them.
    agent_counter BIGINT NOT NULL,
    agent_revision BIGINT NOT NULL,
    -- The gateway's revision of the last change of the instance itself.
    revision BIGINT NOT NULL,
    -- The host number given out last.
    cursor BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (account, name)
);
CREATE INDEX instance_account ON instance (account, id);
CREATE UNIQUE INDEX instance_port ON instance (gateway, listen_port);
CREATE INDEX instance_changed ON instance (gateway, revision);
CREATE INDEX instance_waiting ON instance (id) WHERE gateway IS NULL;
CREATE INDEX instance_due ON instance (reach_due_ms) WHERE reach_due_ms IS NOT NULL;

CREATE TABLE peer (
    id TEXT PRIMARY KEY,
    instance TEXT NOT NULL REFERENCES instance (id),
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    site TEXT REFERENCES site (id),
    person TEXT,
    public_key TEXT,
    preshared_key TEXT,
    host BIGINT NOT NULL,
    address4 TEXT NOT NULL,
    address6 TEXT,
    subnets TEXT NOT NULL,
    reach TEXT,
    route_all BIGINT NOT NULL,
    dns TEXT,
    keepalive BIGINT NOT NULL,
    endpoint TEXT,
    -- The gateway's revision of its last change, and the agents'.
    revision BIGINT NOT NULL,
    agent_revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (instance, name),
    UNIQUE (instance, host)
);
CREATE UNIQUE INDEX peer_key ON peer (instance, public_key);
CREATE INDEX peer_instance ON peer (instance, id);
CREATE INDEX peer_account ON peer (account, id);
CREATE INDEX peer_site ON peer (site, id);
CREATE INDEX peer_changed ON peer (instance, revision);

-- Every prefix of a peer, and an instance's tunnel subnets (peer ''), as first and last address in bytes.
CREATE TABLE prefix (
    instance TEXT NOT NULL REFERENCES instance (id),
    peer TEXT NOT NULL,
    family BIGINT NOT NULL,
    first @BYTES@ NOT NULL,
    last @BYTES@ NOT NULL,
    net TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    PRIMARY KEY (instance, peer, family, first)
);
CREATE INDEX prefix_enabled ON prefix (instance, family, first) WHERE enabled = 1;

-- What the gateway reports of a peer.
CREATE TABLE link (
    peer TEXT PRIMARY KEY,
    handshake_at BIGINT,
    connected_since BIGINT,
    endpoint TEXT,
    rx BIGINT NOT NULL,
    tx BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    gateway_revision BIGINT NOT NULL
);

-- Peers that a gateway could not serve, with the revision that it tried.
CREATE TABLE failure (
    peer TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    error TEXT NOT NULL
);

-- What the agent of a site peer reports.
CREATE TABLE agent (
    peer TEXT PRIMARY KEY,
    router_revision BIGINT,
    router_at BIGINT,
    epoch TEXT NOT NULL,
    number BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    says TEXT,
    said_at BIGINT
);

CREATE TABLE traffic (
    kind TEXT NOT NULL,
    object TEXT NOT NULL,
    period TEXT NOT NULL,
    rx BIGINT NOT NULL,
    tx BIGINT NOT NULL,
    PRIMARY KEY (kind, object, period)
);

-- What a gateway has to take out: a peer, or an instance where peer is ''.
CREATE TABLE removal (
    gateway TEXT NOT NULL,
    revision BIGINT NOT NULL,
    instance TEXT NOT NULL,
    peer TEXT NOT NULL,
    -- Of an instance: stays taken until the gateway has heard of it.
    port BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (gateway, revision)
);

CREATE TABLE enrollment (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    peer TEXT NOT NULL,
    hash @BYTES@ NOT NULL,
    uses BIGINT NOT NULL,
    used BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX enrollment_account ON enrollment (account, id);
CREATE INDEX enrollment_peer ON enrollment (peer);
CREATE INDEX enrollment_expires ON enrollment (expires_at);
CREATE INDEX enrollment_open ON enrollment (account, expires_at) WHERE revoked_at IS NULL AND used < uses;

-- Devices that used a token, by the SHA-256 of their nonce.
CREATE TABLE enrolled (
    enrollment TEXT NOT NULL REFERENCES enrollment (id),
    nonce @BYTES@ NOT NULL,
    credential TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (enrollment, nonce)
);

-- Agents' credentials. One that was taken back stays for a while, like a token.
CREATE TABLE credential (
    id TEXT PRIMARY KEY,
    peer TEXT NOT NULL,
    hash @BYTES@ NOT NULL,
    created_at BIGINT NOT NULL,
    -- First: from then on its owner has it for certain.
    used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX credential_peer ON credential (peer);

CREATE TABLE audit (
    number @NUMBER@,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    account TEXT,
    before TEXT,
    after TEXT
);
CREATE INDEX audit_account ON audit (account, number);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_key ON audit (who, at) WHERE action = 'peer.key';

CREATE TABLE once (
    token TEXT NOT NULL,
    key TEXT NOT NULL,
    digest @BYTES@ NOT NULL,
    object TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (token, key)
);
CREATE INDEX once_at ON once (at);
