-- Proxies: which sites they drive, where the routers are, and who has which lease. Times by the database's clock where replicas
-- share one.

ALTER TABLE site ADD COLUMN proxy TEXT;
ALTER TABLE site ADD COLUMN router_url TEXT;
ALTER TABLE site ADD COLUMN router_pin TEXT;
CREATE INDEX site_proxy ON site (account, proxy, id) WHERE proxy IS NOT NULL;

-- Processes that asked for leases lately.
CREATE TABLE proxy (
    -- Token and process.
    holder TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    -- Of its token; '' for all.
    grp TEXT NOT NULL,
    seen_ms BIGINT NOT NULL
);
CREATE INDEX proxy_account ON proxy (account, seen_ms);

-- Stays when it ended, so that its number goes on.
CREATE TABLE lease (
    site TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token TEXT NOT NULL,
    number BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);
CREATE INDEX lease_holder ON lease (holder);
