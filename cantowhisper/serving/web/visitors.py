"""Who a request comes from, and how much each visitor may ask for.

A visitor is an address; of IPv6 the first 64 bits, because every connection is given 2^64 addresses. Behind proxies
the address is the one that the nearest proxy nobody vouches for came from: uvicorn takes it from X-Forwarded-For, from
right to left, and believes only proxies in FORWARDED_ALLOW_IPS (by default 127.0.0.1). What stands further left
anybody could have written.
"""

import contextlib
import ipaddress
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from cantowhisper.serving.texts.say import Told, said
from cantowhisper.serving.web.refusal import TRY_AGAIN_S, Refusal

TRUSTED = "FORWARDED_ALLOW_IPS"  # uvicorn's own variable: addresses and networks, with commas between
# Addresses that only proxies of the same cluster can have: on a Space all connections come from these.
PRIVATE = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
_REMEMBERED = 10_000  # visitors
HOUR_S = 3600.0
LEFT_AFTER_S = 90.0


def trust_proxies(networks: str | None) -> None:
    """Say which proxies are believed, before the server starts.

    networks : addresses and networks with commas between, or "private" for all private ones; None leaves it to the
        environment, and on a Space to what its proxies have

    Raises
    ------
    Refusal : something is no address and no network
    """
    if networks is None:
        if os.environ.get("SPACE_ID"):
            os.environ.setdefault(TRUSTED, PRIVATE)
        return
    named = PRIVATE if networks == "private" else networks
    for one in named.split(","):
        try:
            ipaddress.ip_network(one.strip())
        except ValueError:
            raise Refusal(
                f"{one.strip()!r} is no network of proxies; write 10.0.0.0/8, 192.168.1.2, or private"
            ) from None
    os.environ[TRUSTED] = named


def visitor_address(request) -> str:
    """Who a web request comes from (anything with `client`, as Starlette's and Gradio's requests)."""
    host = request.client.host if request is not None and request.client else ""
    try:
        ip = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return host[:64] or "unknown"
    if ip.version == 6 and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.version == 4 or ip.is_loopback:
        return str(ip)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def is_owner(visitor: str) -> bool:
    """Whether a visitor sits at this machine, or tunnels to it: whoever uses their own page asks as often as they like.

    A proxy on this machine that tells nobody's address (no X-Forwarded-For) looks the same.
    """
    try:
        return ipaddress.ip_address(visitor).is_loopback
    except ValueError:
        return False


class Hourly:
    """What each visitor used in the last hour, of anything. Safe between threads; forgets the oldest over a bound.

    at_most : for one visitor an hour; 0 is without end
    say : words of a refusal, from the limit and the minutes to wait
    """

    def __init__(self, at_most: float, say: Callable[[float, int], Told], *, clock=time.monotonic):
        self._at_most, self._say, self._clock, self._lock = at_most, say, clock, threading.Lock()
        self._used: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()

    def take(self, visitor: str, amount: float = 1) -> None:
        """Count an amount.

        Raises
        ------
        Refusal : too much in an hour
        """
        if not self._at_most or is_owner(visitor):
            return
        now = self._clock()
        with self._lock:
            used = self._used.setdefault(visitor, deque())
            self._used.move_to_end(visitor)
            while used and now - used[0][0] > HOUR_S:
                used.popleft()
            if sum(one for _, one in used) + amount > self._at_most:
                wait_s = HOUR_S - (now - used[0][0]) if used else HOUR_S
                minutes = max(1, round(wait_s / 60))
                raise Refusal(self._say(self._at_most, minutes), status=429, retry_after_s=wait_s)
            # What comes within a minute is kept as one, so that nobody fills the memory.
            if used and now - used[-1][0] < 60:
                used[-1] = (used[-1][0], used[-1][1] + amount)
            else:
                used.append((now, amount))
            while len(self._used) > _REMEMBERED:
                self._used.popitem(last=False)


class Rate:
    """How quickly each visitor may ask: a bucket of `at_once`, refilled by `per_second`. Safe between threads.

    per_second : 0 is without end
    """

    def __init__(self, per_second: float, *, at_once: int, clock=time.monotonic):
        self._per_second, self._at_once, self._clock, self._lock = per_second, at_once, clock, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how much, and when that was

    def take(self, visitor: str) -> None:
        """Count one.

        Raises
        ------
        Refusal : too many in too short a time
        """
        if not self._per_second or is_owner(visitor):
            return
        now = self._clock()
        with self._lock:
            left, since = self._left.get(visitor, (self._at_once, now))
            left = min(self._at_once, left + (now - since) * self._per_second)
            self._left[visitor] = (max(0.0, left - 1) if left >= 1 else left, now)
            self._left.move_to_end(visitor)
            while len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)
        if left < 1:
            raise Refusal(said("refusal.too_quick"), status=429, retry_after_s=(1 - left) / self._per_second)


class UnderWay:
    """How many requests of each visitor are being served or wait. Safe between threads.

    per_visitor, in_all : at most
    """

    def __init__(self, *, per_visitor: int, in_all: int, clock=time.monotonic):
        self._per_visitor, self._in_all, self._clock = per_visitor, in_all, clock
        self._places: list[Place] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    @contextlib.contextmanager
    def one(self, visitor: str) -> Iterator["Place"]:
        """Count a request for as long as this lasts; `look` at the place now and then, or it is taken for left.

        Raises
        ------
        Refusal : too many of this visitor's, or of all
        """
        place = Place(visitor, self._clock)
        with self._lock:
            self._places = [one for one in self._places if not one.left]
            mine = sum(one.visitor == visitor for one in self._places)
            if mine >= self._per_visitor:
                raise Refusal(said("refusal.under_way", mine=mine), status=429, retry_after_s=TRY_AGAIN_S)
            if len(self._places) >= self._in_all:
                raise Refusal(said("refusal.many_wait"), status=503, retry_after_s=TRY_AGAIN_S)
            self._places.append(place)
        try:
            yield place
        finally:
            with self._lock:
                self._places = [one for one in self._places if one is not place]


class Place:
    """One request that is counted."""

    def __init__(self, visitor: str, clock: Callable[[], float]):
        self.visitor, self._clock, self._looked_at = visitor, clock, clock()

    def look(self) -> None:
        """Somebody is there."""
        self._looked_at = self._clock()

    @property
    def left(self) -> bool:
        """Nobody has looked for long: a connection that went away without a word."""
        return self._clock() - self._looked_at > LEFT_AFTER_S
