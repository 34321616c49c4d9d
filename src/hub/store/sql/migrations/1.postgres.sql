-- No two enabled prefixes of an instance share an address, whoever writes: the instance's row is locked first, so that nobody
-- else adds one meanwhile. Enabled ones are disjoint, so of all that begin before the new one ends, only the one that begins
-- last can meet it.
CREATE FUNCTION prefix_disjoint() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM 1 FROM instance WHERE id = NEW.instance FOR UPDATE;
    IF (
        SELECT last FROM prefix
        WHERE instance = NEW.instance AND family = NEW.family AND enabled = 1 AND first <= NEW.last
        ORDER BY first DESC LIMIT 1
    ) >= NEW.first THEN
        RAISE EXCEPTION 'prefixes overlap' USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NEW;
END;
$body$;
CREATE TRIGGER prefix_disjoint_insert BEFORE INSERT ON prefix FOR EACH ROW WHEN (NEW.enabled = 1)
    EXECUTE FUNCTION prefix_disjoint();
CREATE TRIGGER prefix_disjoint_update BEFORE UPDATE ON prefix FOR EACH ROW WHEN (NEW.enabled = 1 AND OLD.enabled = 0)
    EXECUTE FUNCTION prefix_disjoint();
