"""Requests as nobody means them: every address that the site has, with hostile values wherever one can be put.

Which addresses there are, the resolver says; which parameters, the source, so that a new one is fuzzed without a line here. The same number
gives the same request: what failed can be sent again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, quote_from_bytes, urlencode

from django.urls import URLPattern, URLResolver, get_resolver

ROOT = Path(__file__).resolve().parents[2]

METHODS = (*["GET"] * 6, *["POST"] * 6, "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
"""Those that do something come more often."""
BODILESS = {"GET", "HEAD", "TRACE", "BREW"}
"""The last is no method: uvicorn refuses it before our code, and closes the connection, which would break under a long body."""

VALUES: tuple[str | bytes, ...] = (
    "", " ", "\t", "0", "-1", "--5", "-0", "1.0", "1e400", "٣", "NaN", "-Infinity", "true", "null", "None", "[]", "{}", "%", "%zz", "*", "\\",
    "1" + "0" * 400, "9" * 5000, "2147483647", "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01", "9999-12-31T23:59:59.999999", "0000-00-00", "2026-02-30T25:61",
    "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00Z", "a\0b", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", "\ud83d", "\u202egnp.exe", "\u200b",
    "\ufdfa" * 150, "ﬃ" * 100, "x" * 255, "x" * 5000, "é" * 300, "😀" * 200, "' OR 1=1 --", "1; DROP TABLE runs_run", "\"><script>alert(1)</script>",
    "{{ 7 * 7 }}{% debug %}", "${jndi:ldap://x}", "../../../../etc/passwd", "..%2f..%2fetc", "/etc/passwd", "file:///etc/passwd", "//evil.example/",
    "https://evil.example", "javascript:alert(1)", "\r\nSet-Cookie: a=b", "a,b", ",,,,", "#1", "#" + "9" * 30, "[" * 3000, '{"a":' * 200, '[1e999]',
    '{"__proto__": 1}', "run:00000000-0000-0000-0000-000000000000", "hf:../../etc", "00000000-0000-0000-0000-000000000000", "(?:a+)+$", "a" * 40 + "!",
    "loss", "accuracy", "-accuracy", "name", "-created", "student", "validation", "header", "teacher", "small", "queued", "supervised", "digits", "cpu",
)  # fmt: skip

HEADERS: Mapping[str, tuple[str | bytes, ...]] = {
    "X-Forwarded-For": ("garbage", "1.2.3.4, garbage", "999.1.1.1", "::1%eth0", "[::1]:80", ",", "\u00e9", "1" * 5000),
    "X-Forwarded-Proto": ("garbage", "https", "https,http"),
    "X-Forwarded-Host": ("evil.example", "a b"),
    "X-Real-IP": ("garbage",),
    "Accept": ("*/*", "text/html", "application/xml", "garbage", "application/json; q=nonsense", "text/event-stream", ";;;", "a/b;c=" + "d" * 900),
    "Accept-Language": ("de", "xx-garbage", "*;q=9", "a" * 600, ",,,"),
    "Authorization": ("Bearer", "Bearer x", "Bearer shp_" + "x" * 4000, b"Bearer shp_\xe9", "Basic !!!", "garbage"),
    "Cookie": ("sessionid=" + "x" * 300, "csrftoken=x; sessionid=", b"a=\xff", "messages=garbage", "=;=;", "runs_columns=%00", "columns=a.b.c"),
    "Content-Type": (
        "text/xml", "application/json", "application/json; charset=utf-16", "application/x-www-form-urlencoded; charset=nonsense",
        "application/x-www-form-urlencoded; charset=utf-16", "multipart/form-data; charset=utf-16; boundary=x",
        "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300, "multipart/form-data; boundary=x", "garbage", "",
    ),
    "HX-Request": ("true", "garbage"),
    "HX-Trigger-Name": ("method", "preset", "a\u00e9", "x" * 2000),
    "HX-Current-URL": ("garbage", "http://[", "//evil.example"),
    "HX-Current-URL-URI-AutoEncoded": ("true",),
    "Idempotency-Key": ("k", "k" * 201, "\u00e9", "a\x01b".replace("\x01", " ")),
    "If-Modified-Since": ("garbage", "Thu, 99 Foo 9999 99:99:99 GMT"),
    "If-None-Match": ("garbage", '"' + "0" * 64 + '"', "*", '"' * 50),
    "Last-Event-ID": ("garbage", "1~2~3", "9" * 30 + "~1~1", "~~", "-1~-1~-1"),
    "Origin": ("null", "http://evil.example", "http://["),
    "Range": ("bytes=0-0", "bytes=garbage", "bytes=9-1"),
    "Referer": ("http://[", "https://evil.example/x", "garbage"),
    "User-Agent": ("", "x" * 2000, "\u00e9"),
    "X-CSRFToken": ("garbage", "x" * 64),
    "X-HTTP-Method-Override": ("DELETE",),
}  # fmt: skip

FORMS: tuple[tuple[tuple[str, str | bytes], ...], ...] = (
    (("method", "supervised"), ("task", "digits"), ("preset", "small")),
    (("method", "vanilla-kd"), ("task", "digits"), ("student", "mlp-16")),
    (("name", "edited"), ("tags", "a, b"), ("notes", "n")),
    (("username", "viewer"), ("role", "viewer")),
    (("username", "x"), ("password", "a long enough password")),
    (("name", "t"), ("scope", "read"), ("days", "7")),
)
"""What forms begin with that mean something; what is hostile comes after, and counts where it is of the same name."""

WORDS = re.compile(
    r"""(?:GET|POST|query|query_params|data)\.(?:get|getlist)\(["']([\w.-]+)["']|(?:query_params|request\.GET|query), "([\w.-]+)\""""
)
FIELDS = re.compile(
    r"^    (\w+) = (?:forms|django_filters|serializers)\.|^    (\w+) = (?:WholeNumberField|TextList|Flag|Moment)\(|^    (\w+): .*= Field\(",
    re.MULTILINE,
)
SIGN_IN = ("username", "password", "next", "csrfmiddlewaretoken")
ADMIN = (
    "q",
    "o",
    "p",
    "all",
    "_popup",
    "_to_field",
    "e",
    "id__exact",
    "project__id__exact",
    "is_staff__exact",
    "field_name",
    "app_label",
    "term",
    "action",
)


@dataclass(frozen=True)
class Request:
    """One request, as it goes over the wire: `target` is the path with its query, in percent signs where it must be."""

    number: int
    who: str
    method: str
    target: str
    headers: tuple[tuple[str, bytes], ...]
    body: bytes

    def __str__(self) -> str:
        return (
            f"request {self.number} as {self.who}: {self.method} {self.target[:600]}\n    headers: {dict(self.headers)!r:.900}\n"
            f"    body: {self.body[:600]!r}"
        )


def parameters() -> list[str]:
    """Every name that the web application asks a query or a form for."""
    found: set[str] = {*SIGN_IN, *ADMIN}
    for path in sorted((ROOT / "webapp").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.update(name for names in (*WORDS.findall(text), *FIELDS.findall(text)) for name in names if name)
    return sorted(found)


def patterns(resolver: Any = None, before: str = "") -> Iterator[str]:
    """Every address of the site as its resolver writes it: `runs/<uuid:run_id>/stop/`."""
    for entry in (resolver or get_resolver()).url_patterns:
        here = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, here)
        elif isinstance(entry, URLPattern):
            yield here


class Hostile:
    """Makes the requests. `known`: for each name of a path's part the values that lead somewhere; `people`: who sends them."""

    def __init__(self, known: Mapping[str, Sequence[str]], people: Sequence[str], *, seed: int = 0) -> None:
        self.known, self.people, self.seed = known, people, seed
        self.patterns = sorted(set(patterns()))
        self.ours = [pattern for pattern in self.patterns if not pattern.startswith("admin/")]
        self.parameters = parameters()

    def request(self, number: int) -> Request:
        """The same for the same number, with the same addresses and parameters in the site."""
        draw = Random(f"{self.seed}-{number}")
        method = draw.choice(METHODS)
        among = self.ours if draw.random() < 0.8 else self.patterns
        target = "/" + self._path(draw, among[number % len(among)])
        query = self._pairs(draw) if draw.random() < 0.6 else []
        headers = {name: _bytes(draw.choice(HEADERS[name])) for name in draw.sample(sorted(HEADERS), draw.choice((0, 0, 0, 1, 1, 3)))}
        kind, body = self._body(draw) if method not in BODILESS else ("", b"")
        if kind and "Content-Type" not in headers:
            headers["Content-Type"] = kind.encode()
        return Request(
            number, draw.choice(self.people), method, f"{target}?{_encoded(query)}" if query else target, tuple(headers.items()), body
        )

    def _path(self, draw: Random, pattern: str) -> str:
        """The address with its parts filled in: mostly so that it leads somewhere."""

        def part(found: re.Match[str]) -> str:
            values = self.known.get(found[2], ()) or self.known["id"]
            value = draw.choice(values) if draw.random() < 0.9 else draw.choice(VALUES)
            return quote(value, errors="surrogatepass") if isinstance(value, str) else quote_from_bytes(value)

        path = re.sub(r"<(?:(\w+):)?(\w+)>", part, pattern)
        path = re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda found: part(re.match("(x)(.*)", "x" + found[1]) or found), path)
        path = re.sub(r"[\^$]|\\Z|\(\?:|\)\?|\\", "", path)
        return path if draw.random() < 0.95 else path + quote(_text(draw.choice(VALUES)), errors="surrogatepass")

    def _value(self, draw: Random) -> str | bytes:
        lists = list(self.known.values())
        return draw.choice(VALUES) if draw.random() < 0.75 else draw.choice(draw.choice(lists))

    def _pairs(self, draw: Random) -> list[tuple[str, str | bytes]]:
        """Names and values; some names twice, some that nobody asks for, some lists of known things."""
        names = draw.sample(self.parameters, draw.choice((1, 1, 2, 3, 6)))
        pairs: list[tuple[str, str | bytes]] = [(name, self._value(draw)) for name in names]
        if draw.random() < 0.5:
            pairs = [*draw.choice(FORMS), *pairs]
        if draw.random() < 0.1:
            pairs.append((names[0], self._value(draw)))
        if draw.random() < 0.1:
            pairs.append((_text(draw.choice(VALUES)), "1"))
        if draw.random() < 0.2:
            pairs.append(("runs", ",".join([*self.known["run_id"], _text(self._value(draw))])))
        return pairs

    def _body(self, draw: Random) -> tuple[str, bytes]:
        match draw.choice(("form", "form", "multipart", "json", "json", "raw", "empty")):
            case "form":
                return "application/x-www-form-urlencoded", _encoded(self._pairs(draw)).encode()
            case "multipart":
                return "multipart/form-data; boundary=x", b"".join(
                    b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
                    % (name.encode("utf-8", "surrogatepass"), draw.choice((b"", b'; filename="../x"')), _bytes(value))
                    for name, value in self._pairs(draw)
                ) + draw.choice((b"--x--\r\n", b"", b"--x"))
            case "json":
                return "application/json", self._json(draw)
            case "raw":
                return "", _bytes(draw.choice(VALUES)) * draw.choice((1, 1, 1, 300))
        return "", b""

    def _json(self, draw: Random) -> bytes:
        """An object with known names, values of all types; now and then something that is no object."""
        if draw.random() < 0.15:
            return _bytes(draw.choice(VALUES))
        entries = ", ".join(f"{_quoted(name)}: {self._json_value(draw)}" for name in draw.sample(self.parameters, draw.choice((1, 2, 4))))
        start = draw.choice(("", "", '"method": "supervised", "task": "digits", '))
        return f"{{{start}{entries}}}".encode("utf-8", "surrogatepass")

    def _json_value(self, draw: Random) -> str:
        value = _text(self._value(draw))
        return draw.choice(
            (
                _quoted(value),
                _quoted(value),
                f"[{_quoted(value)}]",
                f'{{"a": {_quoted(value)}}}',
                "1e400",
                "-1",
                "null",
                "1" + "0" * 400,
                "[[[[]]]]",
                "true",
            )
        )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")


def _quoted(text: str) -> str:
    """A JSON string, with characters that JSON has no right to as they are."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'


def _encoded(pairs: Sequence[tuple[str, str | bytes]]) -> str:
    return urlencode([(_bytes(name), _bytes(value)) for name, value in pairs])
