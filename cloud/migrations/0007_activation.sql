-- Signing in to the app: card and activation code are checked before the tenant is known, by the code's hash.

CREATE INDEX ON member (activation_sha256) WHERE activations_left > 0;
CREATE POLICY activation ON member FOR SELECT TO aisle_owner USING (true);

CREATE FUNCTION tenant_of_activation(wanted_card text, activation bytea) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT tenant_id FROM member WHERE activation_sha256 = activation AND card = wanted_card AND activations_left > 0
$$;
REVOKE EXECUTE ON FUNCTION tenant_of_activation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenant_of_activation TO aisle_app;
