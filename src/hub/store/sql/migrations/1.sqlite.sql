-- No two enabled prefixes of an instance share an address, whoever writes. Enabled ones are disjoint, so of all that begin before
-- the new one ends, only the one that begins last can meet it.
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
