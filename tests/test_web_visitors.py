"""Whose request it is, behind which proxies; how much each may ask for; links that do not block each other."""

import asyncio
import os
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from steps import in_steps
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cantowhisper.serving.offline.addresses import Reach, _is_public, ascii_host
from cantowhisper.serving.offline.download import fetch
from cantowhisper.serving.offline.limits import Limits, LinkError
from cantowhisper.serving.offline.links import Links
from cantowhisper.serving.web import visitors
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.serving.web.visitors import Hourly, Rate, UnderWay, is_owner, trust_proxies, visitor_address

VISITOR, PROXY = "203.0.113.7", "10.20.0.1"


def seen_as(client: str, forwarded: str | None, trusted: str) -> str:
    """Who a request is taken for, by uvicorn's own layer with these proxies trusted."""
    scope = {"type": "http", "client": (client, 5000), "headers": []}
    if forwarded is not None:
        scope["headers"].append((b"x-forwarded-for", forwarded.encode()))
    taken = {}

    async def app(scope, receive, send):
        taken["client"] = scope["client"]

    asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, None, None))
    host = taken["client"] and taken["client"][0]
    return visitor_address(SimpleNamespace(client=SimpleNamespace(host=host)))


@pytest.mark.parametrize(
    ("client", "forwarded", "on_a_space", "elsewhere"),
    [
        (PROXY, None, PROXY, PROXY),
        (PROXY, VISITOR, VISITOR, PROXY),
        (PROXY, f"{VISITOR}, 10.0.0.2", VISITOR, PROXY),
        (PROXY, f"1.2.3.4, {VISITOR}", VISITOR, PROXY),  # what stands further left the visitor wrote
        (PROXY, f"127.0.0.1, {VISITOR}, 10.0.0.2", VISITOR, PROXY),
        ("198.51.100.9", VISITOR, "198.51.100.9", "198.51.100.9"),  # who comes past the proxy
        ("127.0.0.1", VISITOR, VISITOR, VISITOR),
        (PROXY, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", PROXY),
        ("::ffff:203.0.113.7", None, VISITOR, VISITOR),
    ],
)
def test_a_visitor_is_what_the_nearest_proxy_that_nobody_vouches_for_says(
    client, forwarded, on_a_space, elsewhere, monkeypatch
):
    for space, seen in (("me/page", on_a_space), ("", elsewhere)):
        monkeypatch.setenv(visitors.TRUSTED, "")  # so that its absence is restored as well
        monkeypatch.delenv(visitors.TRUSTED)
        monkeypatch.setenv("SPACE_ID", space)
        trust_proxies(None)
        assert seen_as(client, forwarded, os.environ.get(visitors.TRUSTED, "127.0.0.1")) == seen  # uvicorn's default


def test_proxies_are_named_as_networks(monkeypatch):
    monkeypatch.setenv(visitors.TRUSTED, "")
    trust_proxies("172.18.0.0/16, 10.0.0.1")
    with pytest.raises(Refusal, match="no network"):
        trust_proxies("nginx")


def test_who_sits_at_the_machine_is_the_owner():
    assert is_owner("127.0.0.1") and is_owner("::1") and is_owner("127.9.9.9")
    assert not is_owner(VISITOR) and not is_owner("unknown") and not is_owner("2001:db8::/64")
    assert visitor_address(None) == visitor_address(SimpleNamespace(client=None)) == "unknown"


def test_what_is_used_in_an_hour_is_counted_by_visitor_and_says_when_to_come_back():
    now = SimpleNamespace(s=0.0)
    hourly = Hourly(2, lambda most, minutes: f"{most} an hour, {minutes} min", clock=lambda: now.s)
    for visitor in ("a", "a", "b", *["127.0.0.1"] * 100):
        hourly.take(visitor)
    now.s = 1200.0
    with pytest.raises(Refusal, match="2 an hour, 40 min") as refusal:
        hourly.take("a")
    assert refusal.value.status == 429 and refusal.value.headers == {"Retry-After": "2400"}
    hourly.take("b")
    now.s = 3601.0
    hourly.take("a")
    endless = Hourly(0, str)
    for _ in range(100):
        endless.take("a", 1e9)


def test_who_asks_too_quickly_waits_as_long_as_it_says():
    now = SimpleNamespace(s=0.0)
    rate = Rate(2.0, at_once=5, clock=lambda: now.s)
    for visitor in (*["a"] * 5, "b", *["127.0.0.1"] * 100):
        rate.take(visitor)
    for _ in range(3):  # what is refused costs nothing
        with pytest.raises(Refusal, match="wait a moment") as refusal:
            rate.take("a")
    assert refusal.value.status == 429 and refusal.value.headers == {"Retry-After": "1"}
    rate.take("b")
    for second in range(1, 20):  # two a second, however long it goes on
        now.s = float(second)
        rate.take("a"), rate.take("a")
        with pytest.raises(Refusal):
            rate.take("a")
    now.s = 1000.0
    for _ in range(5):  # no more is saved up than at_once
        rate.take("a")
    with pytest.raises(Refusal):
        rate.take("a")
    for _ in range(100):
        Rate(0, at_once=1).take("a")


def test_requests_under_way_are_bounded_for_each_and_for_all_and_places_that_were_left_are_free():
    now = SimpleNamespace(s=0.0)
    under_way = UnderWay(per_visitor=2, in_all=3, clock=lambda: now.s)
    with under_way.one("a"), under_way.one("a") as looked_at:
        with pytest.raises(Refusal, match="2 of your requests are under way") as mine, under_way.one("a"):
            pass
        with under_way.one("b"), pytest.raises(Refusal, match="Too many") as all_of_them, under_way.one("c"):
            pass
        assert (mine.value.status, all_of_them.value.status) == (429, 503)
        now.s = visitors.LEFT_AFTER_S + 1
        looked_at.look()
        with under_way.one("a"):
            assert len(under_way) == 2
    assert len(under_way) == 0


NOT_PUBLIC = ["192.0.0.1", "192.0.0.9", "3fff::1", "3fff:fff::1", "2001::1", "192.88.99.1", "2002:808:808::1", "::1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_some_pythons_take_for_public_are_not(address):
    assert not _is_public(address)


def test_names_in_other_scripts_are_asked_for_in_ascii(tmp_path):
    assert ascii_host("粵語.Example") == "xn--r7zw8z.example" and ascii_host("example。com") == "example.com"
    asked = []
    reach = Reach(resolve=lambda host, port: asked.append(host) or ["10.0.0.1"])
    for link in ("http://粵語.example/歌.mp3", "http://bücher.example/"):
        with pytest.raises(LinkError, match="not public"):
            fetch(link, tmp_path, reach=reach)
    assert asked == ["xn--r7zw8z.example", "xn--bcher-kva.example"]
    with pytest.raises(LinkError, match="name that cannot be"):
        fetch("http://a\u0303\u0489.\u2f00\u0600x/", tmp_path, reach=reach)


def test_a_redirect_in_utf8_is_followed_and_asked_for_in_percents(tmp_path):
    from web import answer, redirect, website

    to_utf8 = "/錄音/talk.wav".encode().decode("latin-1")  # as http.server writes header lines
    with website(go=redirect(to_utf8), **{"%E9%8C%84%E9%9F%B3/talk": answer(b"RIFF")}) as (site, port, asked):
        path = fetch(f"{site}/go", tmp_path, reach=Reach(frozenset({("127.0.0.1", port)})))
    assert path.read_bytes() == b"RIFF" and asked == ["/go", "/%E9%8C%84%E9%9F%B3/talk.wav"]


class Drips:
    """A server that sends a byte now and then: in the TLS handshake, before the headers end, or in the body."""

    def __init__(self, where: str, certificate=None):
        self.where, self.certificate, self.n_connections = where, certificate, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.n_connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        try:
            if self.where == "tls":
                connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03")  # a long record begins
            if self.certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.certificate)
                connection = context.wrap_socket(connection, server_side=True)
            if self.where != "tls":
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"Content-Length: 100000\r\n\r\n" * (self.where == "body"))
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    def close(self):
        self.listening.close()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("where", ["tls", "headers", "body"])
def test_a_server_that_drips_is_given_up_in_time(where, tls, tmp_path, monkeypatch):
    certificate = None
    if tls and where != "tls":
        pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)]
        subprocess.run(command, check=True, capture_output=True)
        certificate = (pem, key)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    drips = Drips(where, certificate)
    limits, reach = replace(Limits(), max_download_s=1.0), Reach(also_allow=frozenset({("127.0.0.1", drips.port)}))
    started = time.monotonic()
    (tmp_path / "d").mkdir()
    scheme = "https" if tls or where == "tls" else "http"
    with pytest.raises(LinkError, match="longer than 1 s"):
        fetch(f"{scheme}://127.0.0.1:{drips.port}/x", tmp_path / "d", limits=limits, reach=reach)
    assert time.monotonic() - started < 3
    drips.close()


def test_a_name_that_nobody_can_tell_is_given_up_in_time(tmp_path):
    slow = Reach(resolve=lambda host, port: time.sleep(5) or [])
    started = time.monotonic()
    with pytest.raises(LinkError, match="longer than"):
        fetch("http://slow.example/x", tmp_path, limits=replace(Limits(), max_download_s=0.5), reach=slow)
    assert time.monotonic() - started < 3


def test_one_visitors_links_take_one_place_and_who_leaves_gives_it_up(tmp_path):
    drips = Drips("body")
    limits = replace(Limits(), max_download_s=30.0, max_downloads=2)
    links = Links(limits, Reach(also_allow=frozenset({("127.0.0.1", drips.port)})))
    link = f"http://127.0.0.1:{drips.port}/x"

    async def main():
        started = [links.fetched(link, tmp_path, visitor) for visitor in ("a", "a", "a", "b", "c")]
        for one in started:
            assert await asyncio.wait_for(anext(one), 5) is None
        await asyncio.sleep(0.3)
        n_at_first = drips.n_connections
        for one in started[:1]:
            await one.aclose()
        for one in started[1:]:
            assert await asyncio.wait_for(anext(one), 5) is None
        await asyncio.sleep(0.6)
        n_then = drips.n_connections
        for one in started[1:]:
            await one.aclose()
        return n_at_first, n_then

    began = time.monotonic()
    n_at_first, n_then = asyncio.run(main())
    assert n_at_first == 2 and n_then == 3 and time.monotonic() - began < 10 and not links._visitors
    drips.close()


def test_a_fetched_file_comes_last(tmp_path):
    from web import answer, website

    with website(a=answer(b"sound")) as (url, port, _):
        links = Links(Limits(), Reach(also_allow=frozenset({("127.0.0.1", port)})))
        *_, path = in_steps(links.fetched(f"{url}/a", tmp_path, "a"))
    assert path.read_bytes() == b"sound"
