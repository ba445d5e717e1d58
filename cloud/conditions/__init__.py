"""One typed condition tree for segments, rules and campaigns, compiled to parametrised SQL."""
