"""How strictly the certificates of servers are looked at: as curl, docker and skopeo do it."""

from __future__ import annotations

import ssl


def relax(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return `context`, which no longer refuses what RFC 5280 asks of a certificate's form alone.

    Python 3.13 does by default, and so refuses many private authorities: those whose
    certificate has no key usage, for one. Chain, name and dates are verified as before.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
