-- A router has one driver: its own agent, or the proxies of a group. Where a site had both, whoever came later is refused from now
-- on. When a site was assigned the audit log says; without a word of it, the proxies were first.

INSERT INTO audit (at, who, action, object, account)
    SELECT @NOW@, 'schema 6', 'peer.revoke', 'peer ' || p.id || ' (' || p.name || ')', p.account
    FROM peer p JOIN site s ON s.id = p.site
    WHERE s.proxy IS NOT NULL AND EXISTS (SELECT 1 FROM credential c WHERE c.peer = p.id AND c.revoked_at IS NULL AND c.created_at >=
        COALESCE((SELECT MAX(a.at) FROM audit a WHERE a.action = 'site.assign' AND a.object LIKE 'site ' || s.id || ' (%'), 0));

UPDATE credential SET revoked_at = @NOW@ WHERE revoked_at IS NULL AND EXISTS (
    SELECT 1 FROM peer p JOIN site s ON s.id = p.site WHERE p.id = credential.peer AND s.proxy IS NOT NULL AND credential.created_at >=
        COALESCE((SELECT MAX(a.at) FROM audit a WHERE a.action = 'site.assign' AND a.object LIKE 'site ' || s.id || ' (%'), 0));

INSERT INTO audit (at, who, action, object, account)
    SELECT @NOW@, 'schema 6', 'site.unassign', 'site ' || s.id || ' (' || s.name || ')', s.account FROM site s
    WHERE s.proxy IS NOT NULL AND EXISTS (
        SELECT 1 FROM peer p JOIN credential c ON c.peer = p.id WHERE p.site = s.id AND c.revoked_at IS NULL);

UPDATE site SET proxy = NULL, router_url = NULL, router_pin = NULL, version = version + 1
    WHERE proxy IS NOT NULL AND EXISTS (
        SELECT 1 FROM peer p JOIN credential c ON c.peer = p.id WHERE p.site = site.id AND c.revoked_at IS NULL);
