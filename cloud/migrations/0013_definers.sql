-- A function of the owner must not find a caller's temporary table in place of a real one. Where the path does not name
-- pg_temp it is searched first, and both runtime roles may make temporary tables: so it is named, and last.

DO $$
DECLARE func regprocedure;
BEGIN
    FOR func IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
                AND proowner = current_user::regrole
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = public, pg_temp', func);
    END LOOP;
END $$;
