"""Which servers a link may lead to: those of the public internet, by every address that a name has.

Also names in other scripts: 粵語.example is asked for as xn--….
"""

import ipaddress
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import idna

from cantowhisper.serving.offline.limits import LinkError
from cantowhisper.serving.texts.say import said

PORTS = {"http": 80, "https": 443}
# Not public either, though `is_global` of some Pythons says so: RFC 6890's protocol assignments, RFC 9637's
# documentation, and all that only wraps an IPv4 address.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(one) for one in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "2001::/23", "2002::/16")
)


@dataclass(frozen=True)
class Reach:
    """Where a download may connect to. The public internet; tests let in servers of their own on loopback.

    also_allow : (address, port) pairs that are reached although they are not public
    resolve : host and port to addresses; replaced in tests of names that resolve to somewhere else
    """

    also_allow: frozenset[tuple[str, int]] = frozenset()
    resolve: Callable[[str, int], list[str]] = field(default=lambda host, port: _resolve(host, port))

    def addresses(self, host: str, port: int, *, timeout_s: float) -> list[str]:
        """The addresses of a host, if all of them may be connected to.

        Raises
        ------
        LinkError : the name has no address, or one that is not public
        TimeoutError : nobody knew in time
        """
        found = _in_time(lambda: self.resolve(host, port), timeout_s)
        if not found:
            raise LinkError(said("link.no_server"))
        for address in found:
            if (address, port) not in self.also_allow and not (_is_public(address) and port in PORTS.values()):
                raise LinkError(said("link.not_public"))
        return found


def _resolve(host: str, port: int) -> list[str]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(answer[4][0] for answer in answers))


def _in_time(call: Callable, timeout_s: float):
    """The result of a call that knows no timeout. (Such a thread ends when the system's resolver gives up.)"""
    answer: Future = Future()

    def ask() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="name of a link", daemon=True).start()
    return answer.result(timeout_s)


def _is_public(address: str) -> bool:
    """`is_global`, without multicast and without the IPv6 addresses that only wrap an IPv4 address."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if ip.version == 6 and ip.ipv4_mapped:
        return _is_public(str(ip.ipv4_mapped))
    # 2000::/3 is all that is given out; `is_global` also says yes to ::127.0.0.1 and to 64:ff9b::127.0.0.1.
    if ip.version == 6 and ip not in ipaddress.ip_network("2000::/3"):
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def ascii_host(host: str) -> str:
    """A host as DNS, TLS and HTTP have it (IDNA 2008 with UTS 46); addresses and ASCII names as they are.

    >>> ascii_host("粵語.Example"), ascii_host("::1"), ascii_host("a_b.example")
    ('xn--r7zw8z.example', '::1', 'a_b.example')

    Raises
    ------
    LinkError : no name in any script
    """
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as error:
        raise LinkError(said("link.bad_name")) from error
