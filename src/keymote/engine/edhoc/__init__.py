"""EDHOC (RFC 9528), sans-IO: frozen states, bytes in and out, entropy injected.

For outsiders: `initiator` and `responder` (one function a message, in the order of the protocol), `credentials` (Own, Peer,
KnownPeers), `session` (Session: exporter, key update, OSCORE), `faults` (Aborted) and `schedule`, the formulas.
Methods 0 to 3 are one code: for each side a signature or a static key.
"""
