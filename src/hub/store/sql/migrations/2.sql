-- Health of site peers, by the hub's clock: what agents report, what came of it, and freezes of sites.

-- The epoch that was left: what comes late from it is known already.
ALTER TABLE agent ADD COLUMN epoch_before TEXT NOT NULL DEFAULT '';
-- The word of a TunnelState, since when it is that, and the code of what caused it.
ALTER TABLE agent ADD COLUMN state TEXT;
ALTER TABLE agent ADD COLUMN since BIGINT;
-- What the agent itself told last, however long ago: time counts into that.
ALTER TABLE agent ADD COLUMN told TEXT;
ALTER TABLE agent ADD COLUMN cause TEXT;
ALTER TABLE agent ADD COLUMN heard_at BIGINT;
-- Up to where time is counted into hours.
ALTER TABLE agent ADD COLUMN counted_at BIGINT;
ALTER TABLE agent ADD COLUMN findings TEXT;
ALTER TABLE agent ADD COLUMN sample TEXT;

ALTER TABLE site ADD COLUMN frozen_until BIGINT;
ALTER TABLE site ADD COLUMN frozen_at BIGINT;
ALTER TABLE site ADD COLUMN frozen_reason TEXT;
ALTER TABLE site ADD COLUMN frozen_by TEXT;
CREATE INDEX site_frozen ON site (frozen_until) WHERE frozen_until IS NOT NULL;

-- An hour of a tunnel: seconds in each state, and sums. One row takes a report whole, so that a batch costs one statement.
CREATE TABLE health_hour (
    peer TEXT NOT NULL,
    -- Its first second.
    hour BIGINT NOT NULL,
    up BIGINT NOT NULL,
    degraded BIGINT NOT NULL,
    down BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    losses BIGINT NOT NULL,
    loss_sum BIGINT NOT NULL,
    loss_max BIGINT NOT NULL,
    rtts BIGINT NOT NULL,
    rtt_min BIGINT NOT NULL,
    rtt_sum BIGINT NOT NULL,
    rtt_max BIGINT NOT NULL,
    rx BIGINT NOT NULL,
    tx BIGINT NOT NULL,
    points BIGINT NOT NULL,
    -- Each report as a JSON array and a comma; NULL once it is old.
    raw TEXT,
    PRIMARY KEY (peer, hour)
);
CREATE INDEX health_hour_raw ON health_hour (hour) WHERE raw IS NOT NULL;
CREATE INDEX health_hour_hour ON health_hour (hour);

CREATE TABLE transition (
    number @NUMBER@,
    peer TEXT NOT NULL,
    site TEXT NOT NULL,
    at BIGINT NOT NULL,
    was TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT,
    evidence TEXT
);
CREATE INDEX transition_site ON transition (site, number);
CREATE INDEX transition_peer ON transition (peer, number);
CREATE INDEX transition_at ON transition (at);

-- Peers that were deleted, whose hours and transitions are yet to be: there may be too many for one change.
CREATE TABLE gone (peer TEXT PRIMARY KEY);
