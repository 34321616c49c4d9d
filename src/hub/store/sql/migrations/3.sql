-- What agents did to their routers by themselves, and what they found that somebody did; by the hub's clock.
CREATE TABLE event (
    number @NUMBER@,
    peer TEXT NOT NULL,
    site TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- The word of an EventKind.
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    words TEXT NOT NULL
);
CREATE INDEX event_site ON event (site, number);
CREATE INDEX event_peer ON event (peer, number);
CREATE INDEX event_at ON event (at);
