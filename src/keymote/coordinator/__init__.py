"""The coordinator: registry, revocation, policy, audit and REST; transactions, not an engine; holds no pair key."""
