-- A store as the first version left it: never changed, so that every later version is held against it.

CREATE TABLE account (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    max_instances BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    account TEXT,
    region TEXT,
    hash BLOB NOT NULL,
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
    install TEXT NOT NULL,
    revision BIGINT NOT NULL,
    floor BIGINT NOT NULL
);
CREATE INDEX gateway_region ON gateway (region);

CREATE TABLE gateway_seen (
    gateway TEXT PRIMARY KEY REFERENCES gateway (id),
    seen_at BIGINT,
    applied_revision BIGINT NOT NULL,
    epoch TEXT NOT NULL,
    number BIGINT NOT NULL,
    filling BIGINT
);

CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    hostname TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    suspended BIGINT NOT NULL,
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
    reach TEXT NOT NULL,
    reach_since_ms BIGINT,
    reach_due_ms BIGINT,
    agent_counter BIGINT NOT NULL,
    agent_revision BIGINT NOT NULL,
    revision BIGINT NOT NULL,
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

CREATE TABLE prefix (
    instance TEXT NOT NULL REFERENCES instance (id),
    peer TEXT NOT NULL,
    family BIGINT NOT NULL,
    first BLOB NOT NULL,
    last BLOB NOT NULL,
    net TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    PRIMARY KEY (instance, peer, family, first)
);
CREATE INDEX prefix_enabled ON prefix (instance, family, first) WHERE enabled = 1;

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

CREATE TABLE failure (
    peer TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    error TEXT NOT NULL
);

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

CREATE TABLE removal (
    gateway TEXT NOT NULL,
    revision BIGINT NOT NULL,
    instance TEXT NOT NULL,
    peer TEXT NOT NULL,
    port BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (gateway, revision)
);

CREATE TABLE enrollment (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    peer TEXT NOT NULL,
    hash BLOB NOT NULL,
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

CREATE TABLE enrolled (
    enrollment TEXT NOT NULL REFERENCES enrollment (id),
    nonce BLOB NOT NULL,
    credential TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (enrollment, nonce)
);

CREATE TABLE credential (
    id TEXT PRIMARY KEY,
    peer TEXT NOT NULL,
    hash BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX credential_peer ON credential (peer);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
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
    digest BLOB NOT NULL,
    object TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (token, key)
);
CREATE INDEX once_at ON once (at);
CREATE TRIGGER prefix_disjoint_insert BEFORE INSERT ON prefix WHEN NEW.enabled = 1
BEGIN
    SELECT RAISE(ABORT, 'prefixes overlap') WHERE (
        SELECT last FROM prefix
        WHERE instance = NEW.instance AND family = NEW.family AND enabled = 1 AND first <= NEW.last
        ORDER BY first DESC LIMIT 1
    ) >= NEW.first;
END;
CREATE TRIGGER prefix_disjoint_update BEFORE UPDATE ON prefix WHEN NEW.enabled = 1 AND OLD.enabled = 0
BEGIN
    SELECT RAISE(ABORT, 'prefixes overlap') WHERE (
        SELECT last FROM prefix
        WHERE instance = NEW.instance AND family = NEW.family AND enabled = 1 AND first <= NEW.last
        ORDER BY first DESC LIMIT 1
    ) >= NEW.first;
END;
CREATE TABLE schema_version (version BIGINT PRIMARY KEY, at BIGINT NOT NULL);
INSERT INTO schema_version VALUES (1, 1795000000);
INSERT INTO account VALUES ('acct0001', 'acme', 5, 1795000000, 1);
INSERT INTO site (id, account, name, created_at, version) VALUES ('site0001', 'acct0001', 'branch', 1795000000, 1);
INSERT INTO instance (id, account, name, hostname, region, suspended, state, tunnel4, dns, search, pushed, client_to_client, site_to_site, reach, agent_counter, agent_revision, revision, cursor, created_at, version) VALUES ('inst0001', 'acct0001', 'main', 'main', 'eu', 0, 'deploying', '10.99.0.0/24', '[]', '[]', '[]', 0, 1, '["10.1.0.0/24","10.99.0.0/24"]', 2, 1, 0, 2, 1795000000, 1);
INSERT INTO prefix VALUES ('inst0001', '', 4, X'0A630000', X'0A6300FF', '10.99.0.0/24', 1);
INSERT INTO peer (id, instance, account, kind, name, enabled, site, host, address4, subnets, route_all, keepalive, revision, agent_revision, created_at, version) VALUES ('peer0001', 'inst0001', 'acct0001', 'site', 'branch', 1, 'site0001', 2, '10.99.0.2', '["10.1.0.0/24"]', 0, 25, 0, 2, 1795000000, 1);
INSERT INTO prefix VALUES ('inst0001', 'peer0001', 4, X'0A010000', X'0A0100FF', '10.1.0.0/24', 1);
