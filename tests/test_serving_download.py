"""Links from strangers: what is fetched, and everything that is not. Real servers, all on loopback."""

import gzip
import io
import time
import zlib
from dataclasses import replace

import pytest
from tongues import foreign
from web import answer, redirect, website

from cantowhisper.serving.offline import addresses, youtube
from cantowhisper.serving.offline.addresses import Reach
from cantowhisper.serving.offline.download import MAX_REDIRECTS, fetch, youtube_id
from cantowhisper.serving.offline.limits import Limits, LinkError
from cantowhisper.serving.texts.say import LANGUAGES, Say

LIMITS = replace(Limits(), max_url_bytes=1_000_000, max_download_s=1.5)
SOUND = bytes(range(256)) * 400


def local(port: int, **names: list[str]) -> Reach:
    """Lets in one server of the test; `names` resolve to what is given, all others as ever."""
    resolve = lambda host, port: names.get(host.replace(".", "_")) or addresses._resolve(host, port)
    return Reach(also_allow=frozenset({("127.0.0.1", port)}), resolve=resolve)


def refused(link: str, folder, reach: Reach | None = None, limits: Limits = LIMITS) -> str:
    """The words of the refusal; nothing may be left in the folder but what was written before it was seen."""
    with pytest.raises(LinkError) as refusal:
        fetch(link, folder, limits=limits, reach=reach)
    said = str(refusal.value)
    for language in LANGUAGES:
        told = Say(language).of(said)
        assert "\n" not in told and "127.0.0.1" not in told and not foreign(told, language)
    assert sum(f.stat().st_size for f in folder.iterdir()) <= limits.max_url_bytes
    return said


def test_a_file_is_fetched_over_redirects_whatever_its_name(tmp_path):
    with website(a=redirect("/b/../b?x=1"), b=answer(SOUND)) as (url, port, asked):
        path = fetch(f"{url}/a", tmp_path, limits=LIMITS, reach=local(port))
    assert path.read_bytes() == SOUND and path.parent == tmp_path and len(asked) == 2


@pytest.mark.parametrize("packed", [gzip.compress(SOUND), zlib.compress(SOUND)], ids=["gzip", "deflate"])
def test_a_packed_file_is_unpacked(tmp_path, packed):
    encoding = "gzip" if packed[:2] == b"\x1f\x8b" else "deflate"
    with website(a=answer(packed, Content_Encoding=encoding)) as (url, port, _):
        assert fetch(f"{url}/a", tmp_path, limits=LIMITS, reach=local(port)).read_bytes() == SOUND


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[ff02::1]"),
    *("2130706433", "0x7f.1", "localhost", "127.1", "[::]", "[::127.0.0.1]", "255.255.255.255"),
]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused_in_every_spelling(tmp_path, host):
    said = refused(f"http://{host}/a.mp3", tmp_path)
    assert "not public" in said or "No server" in said


@pytest.mark.parametrize("port", [22, 6379, 8080, 7860])
def test_only_the_ports_of_the_web(tmp_path, port):
    assert "80 and 443" in refused(f"http://1.1.1.1:{port}/a.mp3", tmp_path)


def test_a_name_that_resolves_to_a_private_address_is_refused(tmp_path):
    with website(a=answer(SOUND)) as (_, port, asked):
        reach = Reach(resolve=lambda host, port: ["127.0.0.1"])
        assert "not public" in refused(f"http://innocent.example:{port}/a", tmp_path, reach)
        both = Reach(resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])
        assert "not public" in refused("http://innocent.example/a", tmp_path, both)
        assert asked == []


def test_a_redirect_to_a_private_address_is_refused(tmp_path):
    private, no_web = "not public", "begin with http"
    targets = {"http://169.254.169.254/latest/meta-data": private, "//10.0.0.1/x": private, "http://[::1]/": private}
    targets |= {"file:///etc/passwd": no_web, "gopher://a/": no_web, "data:,x": no_web}
    for target, why in targets.items():
        with website(a=redirect(target)) as (url, port, asked):
            assert why in refused(f"{url}/a", tmp_path, local(port)), target
            assert asked == ["/a"]


@pytest.mark.parametrize("lost", [redirect(""), answer(b"", status=302)], ids=["empty", "absent"])
def test_a_redirect_to_nowhere_is_asked_a_few_times_and_refused(tmp_path, lost):
    """An empty reference is the page itself (RFC 3986, section 4.4): a loop, which ends as any other."""
    with website(a=lost) as (url, port, asked):
        assert "redirects" in refused(f"{url}/a?x=1", tmp_path, local(port))
        assert asked == ["/a?x=1"] * (MAX_REDIRECTS + 1)


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_looked_at(tmp_path):
    """DNS rebinding: the second answer would be a private address, but nobody asks a second time."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    with website(a=answer(SOUND)) as (_, port, asked):
        reach = Reach(also_allow=frozenset({("127.0.0.1", port)}), resolve=lambda host, port: next(answers))
        assert fetch(f"http://rebind.example:{port}/a", tmp_path, limits=LIMITS, reach=reach).exists()
        assert next(answers) == ["10.0.0.1"] and asked == ["/a"]


def test_a_name_that_changes_its_address_between_redirects_is_refused(tmp_path):
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    with website(a=redirect("/b"), b=answer(SOUND)) as (_, port, asked):
        reach = Reach(also_allow=frozenset({("127.0.0.1", port)}), resolve=lambda host, port: next(answers))
        assert "not public" in refused(f"http://rebind.example:{port}/a", tmp_path, reach)
        assert asked == ["/a"]


@pytest.mark.parametrize(
    "link",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.mp3",
        "concat:/etc/passwd|x",
        "data:audio/wav;base64,AAAA",
        "/etc/passwd",
        "../../etc/passwd",
        "http://",
        "http:///a",
        "http://example.org:99999/",
        "http://[::1/",
        "javascript:alert(1)",
        "<script>alert(1)</script>",
        "http://example.org/a\r\nX-Evil: 1",
        "http://example.org/" + "a" * 3000,
        "",
    ],
)
def test_what_is_no_web_address_is_refused(tmp_path, link):
    said = refused(link, tmp_path)
    assert "http://" in said and "script" not in said and "passwd" not in said


def test_passwords_are_not_sent(tmp_path):
    assert "password" in refused("http://me:secret@example.org/a", tmp_path)


def test_redirects_come_to_an_end(tmp_path):
    with website(a=redirect("/a")) as (url, port, asked):
        assert "redirects" in refused(f"{url}/a", tmp_path, local(port))
        assert len(asked) == MAX_REDIRECTS + 1


def endless(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "audio/mpeg")
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(65536))


def test_an_endless_stream_ends_at_the_limit(tmp_path):
    with website(a=endless) as (url, port, _):
        assert "larger than 1 MB" in refused(f"{url}/a", tmp_path, local(port))


def test_a_file_that_announces_too_much_is_not_begun(tmp_path):
    with website(a=answer(b"", Content_Length="999999999")) as (url, port, _):
        assert "larger than 1 MB" in refused(f"{url}/a", tmp_path, local(port))
    assert list(tmp_path.iterdir()) == []


def drip_body(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        time.sleep(0.1)


def drip_headers(handler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.1)


def silent(handler) -> None:
    time.sleep(20)


@pytest.mark.parametrize("slow", [drip_body, drip_headers, silent])
def test_a_slow_server_is_left_in_time(tmp_path, slow):
    started = time.monotonic()
    with website(a=slow) as (url, port, _):
        assert "longer than" in refused(f"{url}/a", tmp_path, local(port))
        assert time.monotonic() - started < LIMITS.max_download_s + 2


def bomb(handler) -> None:
    packed = gzip.compress(bytes(30_000_000))  # 30 kB
    answer(packed, Content_Encoding="gzip")(handler)


def test_a_gzip_bomb_ends_at_the_limit(tmp_path):
    with website(a=bomb) as (url, port, _):
        assert "larger than 1 MB" in refused(f"{url}/a", tmp_path, local(port), replace(LIMITS, max_download_s=20))


def test_a_gzip_bomb_in_a_gzip_bomb_is_unpacked_once(tmp_path):
    inner = gzip.compress(bytes(10_000_000))
    with website(a=answer(gzip.compress(inner), Content_Encoding="gzip")) as (url, port, _):
        assert fetch(f"{url}/a", tmp_path, limits=LIMITS, reach=local(port)).read_bytes() == inner


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_unknown_packing_is_refused(tmp_path, encoding):
    with website(a=answer(SOUND, Content_Encoding=encoding)) as (url, port, _):
        assert "packs" in refused(f"{url}/a", tmp_path, local(port))


def test_damaged_and_shortened_answers_are_refused(tmp_path):
    pages = {"a": answer(SOUND[:99], Content_Length="5000"), "b": answer(b"no gzip", Content_Encoding="gzip")}
    with website(**pages) as (url, port, _):
        for page in pages:
            assert "failed" in refused(f"{url}/{page}", tmp_path, local(port))


@pytest.mark.parametrize("kind", ["text/html", "application/vnd.apple.mpegurl", "audio/x-mpegurl"])
def test_web_pages_and_playlists_are_refused(tmp_path, kind):
    with website(a=answer(b"<html>", kind=kind)) as (url, port, _):
        assert "web page" in refused(f"{url}/a", tmp_path, local(port))


def test_an_answer_that_is_no_success_is_refused(tmp_path):
    with website(a=answer(b"", status=404)) as (url, port, _):
        assert "404" in refused(f"{url}/a", tmp_path, local(port))


def test_nothing_listens_there(tmp_path):
    with website() as (url, port, _):
        pass
    assert "failed" in refused(f"{url}/a", tmp_path, local(port))


# ------------------------------------------------------------------------------------------------ YouTube


def test_only_the_id_is_taken_from_a_link_to_youtube():
    video = "dQw4w9WgXcQ"
    links = ["watch?v={}", "watch?a=b&v={}&list=PL1", "shorts/{}", "live/{}?si=x", "embed/{}"]
    assert {youtube_id("https://www.youtube.com/" + link.format(video)) for link in links} == {video}
    assert youtube_id(f"http://youtu.be/{video}") == video
    others = ["https://youtube.com.evil.example/watch?v=", "https://evil.example/?u=youtu.be/", "https://youtu.be/x"]
    assert {youtube_id(link + video) for link in others} == {None}
    assert youtube_id("https://www.youtube.com/watch?v=;rm -rf") is None


def test_a_refusal_of_youtube_says_what_to_do(tmp_path):
    """This machine's proxy setting leads nowhere for the length of the test, as YouTube's refusal of servers does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        said = refused("https://youtu.be/dQw4w9WgXcQ", tmp_path)
    assert "upload the file here" in said and "dQw4w9WgXcQ" not in said


def test_yt_dlp_is_given_the_video_alone_and_goes_to_no_other_site(tmp_path, monkeypatch):
    """yt-dlp's own downloader as it is set up here: what it would do if a page sent it on to another site."""
    import yt_dlp

    made = []

    class Observed(yt_dlp.YoutubeDL):
        def __init__(self, options):
            super().__init__(options)
            made.append(self)

        def download(self, links):
            self.links = links
            return super().download(links)

    monkeypatch.setattr(yt_dlp, "YoutubeDL", Observed)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    refused("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PLx&u=http://10.0.0.1/", tmp_path)
    (downloader,) = made
    assert downloader.links == ["https://www.youtube.com/watch?v=dQw4w9WgXcQ"]
    with website(a=answer(SOUND)) as (url, _, asked):
        for link in (f"{url}/a.mp3", f"http://example.org@{url.removeprefix('http://')}/a.mp3"):
            with pytest.raises(yt_dlp.utils.DownloadError):
                downloader.extract_info(link)
    assert asked == [] and list(tmp_path.iterdir()) == []


def test_videos_that_are_live_or_too_long_are_refused_before_they_are_fetched():
    watch = youtube._Watch(LIMITS)
    assert watch.refuse_before({"duration": 60.0}) is None
    assert watch.refuse_before({"duration": LIMITS.max_audio_s + 1}) and "longer" in str(watch.refusal)
    watch = youtube._Watch(LIMITS)
    assert watch.refuse_before({"is_live": True}) and "live" in str(watch.refusal)


def test_a_video_that_grows_over_the_limit_is_stopped():
    watch = youtube._Watch(LIMITS)
    watch.stop_midway({"downloaded_bytes": 1000})
    with pytest.raises(LinkError, match="too large"):
        watch.stop_midway({"downloaded_bytes": LIMITS.max_url_bytes + 1})
    with pytest.raises(LinkError, match="slowly"):
        youtube._Watch(replace(LIMITS, max_download_s=1e-9)).stop_midway({})


def test_yt_dlp_says_nothing_to_the_logs(tmp_path, capfd, caplog):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        refused("https://youtu.be/dQw4w9WgXcQ", tmp_path)
    out, err = capfd.readouterr()
    assert "dQw4w9WgXcQ" not in out + err + caplog.text


def test_the_file_is_read_as_what_it_is_not_as_it_is_called(tmp_path):
    """A playlist that a server calls audio is fetched as bytes, and then refused by the decoder."""
    from cantowhisper.speech.audio import AudioError, load_audio

    for text in (b"#EXTM3U\nhttp://127.0.0.1/secret\n", b"ffconcat version 1.0\nfile /etc/passwd\n"):
        with website(a=answer(text)) as (url, port, _):
            path = fetch(f"{url}/a.mp3", tmp_path, limits=LIMITS, reach=local(port))
        with pytest.raises(AudioError), io.BytesIO(path.read_bytes()) as file:
            load_audio(file.read())
