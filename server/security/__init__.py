"""Who may ask, over what, and what is written down of it: TLS, tokens, roles, audit, pseudonyms."""
