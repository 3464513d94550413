"""The door to libsodium's ristretto255; the home of `rbcl`, and of what its way of loading costs.

On import `rbcl` writes its copy of libsodium (2.8 MB) to a temporary file and leaves it there, one more for each
process that ever started. The loaded library does not need the file's name, so it is removed here at once. Importing
takes some 50 ms: only the suites that compute in this group import this module, when they are first asked for.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from keymote.errors import Unavailable

try:
    import rbcl
except OSError as exc:
    raise Unavailable(
        "libsodium could not be loaded from the directory for temporary files",
        do="free space there, mount it without noexec, or point TMPDIR to another directory",
    ) from exc

COPY: Final[str] = rbcl._sodium._name  # noqa: SLF001  # the library publishes the path of its copy under no other name
"""Path of the copy that this process had loaded; it no longer exists."""

with suppress(OSError):  # a platform that does not let go of a loaded library keeps the file, as its authors meant it
    Path(COPY).unlink()

add = rbcl.crypto_core_ristretto255_add
from_hash = rbcl.crypto_core_ristretto255_from_hash
is_valid_point = rbcl.crypto_core_ristretto255_is_valid_point
scalar_add = rbcl.crypto_core_ristretto255_scalar_add
scalar_mul = rbcl.crypto_core_ristretto255_scalar_mul
scalar_reduce = rbcl.crypto_core_ristretto255_scalar_reduce
scalarmult = rbcl.crypto_scalarmult_ristretto255
scalarmult_base = rbcl.crypto_scalarmult_ristretto255_base
sub = rbcl.crypto_core_ristretto255_sub
