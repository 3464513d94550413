"""The limit `home` of the pairwise model, done to the engines: a rogue manager names a device of another operator its own.

A-16 in docs/attacks.md covers the forgeries that the chain stops: a credential in the name of the other manager. Here the
rogue manager says in its own name that it issued a credential to d2, which it may say of any device.
"""

from dataclasses import replace

from keymote.engine.link_faces import link_to_device
from keymote.lab.attacks.catalogue import Effort
from keymote.lab.attacks.stage import Mallory, Reaction, meeting
from keymote.lab.scenes import identity
from keymote.wire.credential import issue
from keymote.wire.pairwise import Auth1, Link, Peercred


def introduced(issuer: str, named: str = "") -> Reaction:
    """Let d1 ask for d2, of the manager `named`; nm1 answers with Mallory's keys under d2's name, as issued by `issuer`."""
    scene = meeting(Effort(seed=b"tests/models"))
    mallory = Mallory(scene)
    d1, d2 = scene.membership("d1"), scene.membership("d2")
    assert d1 is not None and d2 is not None
    true, rogue = d2.credential.claims, scene.managers["nm1"]
    claims = replace(true, iss=(d1 if issuer == "nm1" else d2).credential.claims.iss, E2=true.E1)  # d = 1
    forged = issue(rogue.signing, claims)
    mallory.hold(Link.mt, source="nm1")
    psid = scene.ask("d1", "d2", manager=named)
    scene.sim.run_for(0.5)
    body = Peercred(psid, 1, forged.raw, *scene.managers[issuer].chain[:2]).encode()
    return mallory.speaks_for("nm1", link_to_device(identity("d1")), body)


def calls(reaction: Reaction) -> bool:
    return Auth1.mt in reaction.types()


def test_a_forgery_in_the_name_of_the_other_manager_is_refused() -> None:
    reaction = introduced("nm2")
    assert not calls(reaction)
    assert reaction.stopped() is not None and reaction.stopped()[0] == "E_CRED"


def test_PW42_a_claim_of_the_own_manager_to_a_foreign_device_is_refused_where_its_manager_is_named() -> None:
    reaction = introduced("nm1", named="nm2")
    assert not calls(reaction)
    assert reaction.stopped() is not None and reaction.stopped()[0] == "E_CRED"


def test_without_a_name_any_manager_below_the_pin_is_believed() -> None:
    """The limit itself: an application that names no manager sees afterwards which one vouched (`KeyReady.manager`)."""
    assert calls(introduced("nm1"))
