"""Result records: schema, seals, provenance, identity of candidates, files published beside them."""
