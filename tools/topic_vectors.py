"""Our own readings, in the format of the given vectors' part `C`; `make_vectors.py` writes them.

They add what the given files leave out: every cipher, another alphabet in the topic, larger numbers.
"""

from keymote.cbor import uint
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import chain_step
from keymote.crypto.secret import Secret
from keymote.engine.topic.ciphers import CIPHERS
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.ratchet import Sending, first_key
from keymote.wire.topic import KeyGrant

TOPIC = "Station Süd/7/Puls"
EPOCH, SND, INDEX = 70_000, 200, 66_000


def part(entropy: Entropy) -> dict[str, object]:
    """Return the part `C`."""
    client_id, pss, ctx, sess, key = (entropy.draw(size) for size in (8, 32, 20, 8, 32))
    chain, pt = KeyChain.begin(client_id, Secret(pss)), entropy.draw(21)
    grants = {cs: KeyGrant(sess, EPOCH, SND, cs, key, INDEX, 1, 0) for cs in CIPHERS}
    mk, _ = chain_step(first_key(TOPIC, grants[1], SND), uint(INDEX))
    return {
        "inputs": {
            "client_id": client_id.hex(), "kresp_ctx": ctx.hex(), "SK": key.hex(), "topic": TOPIC, "sess": sess.hex(),
            "epoch": EPOCH, "snd": SND, "n": INDEX, "pt": pt.hex(),
        },
        "pss": pss.hex(),
        "kresp_k0_k1": [each.sub("C/kresp", ctx).expose().hex() for each in (chain, chain.step())],
        "publishes": {
            str(cs): [Sending.begin(TOPIC, grant, enabled=CIPHERS.keys()).protect(pt)[1].hex()]
            for cs, grant in grants.items()
        },
        "mk0": [INDEX, mk[:32].hex(), mk[32:].hex()],
    }  # fmt: skip
