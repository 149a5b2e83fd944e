"""The door of a real web server: crowds of strangers, a proxy in front, and made-up headers."""

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from axes.models import AccessAttempt
from django.test import Client

from tests import processes
from tests.processes import Program
from tests.runs import new_project
from tests.versions import NEWER, newer_database
from tests.waiting import wait_for
from webapp.accounts.models import Membership, Role, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

BURST, WAITING = 200, 3
EACH = 100 * 1024 * 1024


class Web(Program):
    """A web server that trusts a proxy on this machine."""

    def __init__(self, environment: dict[str, str]) -> None:
        port = processes.free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = ["-m", "uvicorn", "webapp.asgi:application", "--port", str(port), "--log-level", "warning", "--no-proxy-headers"]
        super().__init__(words, environment)

    def client(self, forwarded: str = "", **headers: str) -> httpx.Client:
        """Somebody behind the proxy, at the address that it tells; without one, a program on this machine."""
        return httpx.Client(base_url=self.url, headers=({"X-Forwarded-For": forwarded} if forwarded else {}) | headers, timeout=60)


@pytest.fixture(scope="module")
def web(process_environment: dict[str, str]) -> Iterator[Web]:
    settings = {
        "STILLHOUSE_TRUSTED_PROXIES": "127.0.0.1",
        "STILLHOUSE_ANONYMOUS_RATE": f"{BURST}/hour",
        "STILLHOUSE_HASHING_MEGABYTES": "100",
        "STILLHOUSE_HASHING_QUEUE": str(WAITING),
    }
    with Web(process_environment | settings) as web:
        wait_for(lambda: not web.is_running() or answers(web), seconds=60, what="the web server to answer")
        assert web.is_running(), web.output
        yield web


def answers(web: Web) -> bool:
    try:
        return httpx.get(f"{web.url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def cookies() -> dict[str, str]:
    """The session of a member."""
    vera = User.objects.create_user("vera")
    Membership.objects.create(user=vera, project=new_project(), role=Role.VIEWER)
    client = Client()
    client.force_login(vera)
    return {"sessionid": client.cookies["sessionid"].value}


def form(client: httpx.Client) -> dict[str, str]:
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/sign-in/").text)
    assert token is not None
    return {"csrfmiddlewaretoken": token[1], "username": "nora", "password": "not the right one"}


def at_once(tasks: list[Callable[[], int]]) -> Counter[int]:
    """The statuses of so many requests that begin together."""
    barrier = threading.Barrier(len(tasks))

    def run(task: Callable[[], int]) -> int:
        barrier.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return Counter(pool.map(run, tasks))


def test_a_member_is_served_while_the_same_address_floods_the_site(web: Web, cookies: dict[str, str]) -> None:
    address = "203.0.113.1"
    with (
        web.client(address) as flood,
        httpx.Client(base_url=web.url, headers={"X-Forwarded-For": address}, cookies=cookies, timeout=60) as member,
    ):
        first = member.get("/p/distillery/").status_code
        with ThreadPoolExecutor(20) as pool:
            statuses = Counter(pool.map(lambda _: flood.get("/api/v1/schema/").status_code, range(250)))
        pages = [member.get("/p/distillery/").status_code for _ in range(10)]
        refused = flood.get("/sign-in/")

    assert statuses == {200: BURST - 1, 429: 251 - BURST}  # the member's first page counted as their address
    assert (first, pages) == (200, [200] * 10)
    assert refused.status_code == 429 and "Too many requests from your address; try again in" in refused.text
    assert 0 < int(refused.headers["Retry-After"]) <= 18  # one of 200 an hour


def test_a_crowd_that_signs_in_takes_the_memory_of_one_and_the_rest_is_asked_to_come_again(web: Web) -> None:
    clients = [web.client(f"198.51.100.{number}") for number in range(16)]
    forms = [form(client) for client in clients]
    process, peak, over = psutil.Process(web.pid), [0], threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        while not over.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    tasks = [
        lambda c=client, f=fields: c.post("/sign-in/", data=f | {"username": f"crowd {id(c)}"}).status_code
        for client, fields in zip(clients, forms, strict=True)
    ]
    statuses = at_once(tasks)
    over.set()
    looking.join()
    for client in clients:
        client.close()

    assert statuses[200] >= 1 + WAITING and statuses[503] >= 1 and statuses[200] + statuses[503] == 16
    assert peak[0] - before < 3 * EACH  # sixteen would take sixteen


@pytest.mark.parametrize(
    "forwarded",
    ["garbage", "", ",", "999.1.2.3", "[", "[::1]:x", "'; DROP TABLE", "1" * 5000, "\xff", "unknown, for=203.0.113.7", "203.0.113.7;x"],
)
def test_garbage_for_an_address_is_no_error_and_leaves_the_proxys_own(web: Web, forwarded: str) -> None:
    with httpx.Client(base_url=web.url, headers=[(b"x-forwarded-for", forwarded.encode("latin-1"))], timeout=60) as client:
        statuses = [client.get(path).status_code for path in ("/", "/api/v1/me/", "/metrics")]

    assert statuses == [302, 401, 403]  # metrics: a request with such a header came from further away than the proxy


def test_who_fails_to_sign_in_with_garbage_for_an_address_is_counted_at_the_proxys(web: Web) -> None:
    with web.client("203.0.113.9, garbage") as client:
        failed = client.post("/sign-in/", data=form(client))

    assert failed.status_code == 200
    assert list(AccessAttempt.objects.values_list("ip_address", flat=True)) == ["127.0.0.1"]


def test_a_lock_is_for_the_address_that_the_proxy_tells_and_what_the_client_writes_before_it_changes_nothing(web: Web) -> None:
    User.objects.create_user("nora", password="a long enough password")

    with web.client() as client:
        fields = form(client)
        codes = [
            client.post("/sign-in/", data=fields, headers={"X-Forwarded-For": f"192.0.2.{number}, 203.0.113.20"}).status_code
            for number in range(5)
        ]
        elsewhere = client.post(
            "/sign-in/", data=fields | {"password": "a long enough password"}, headers={"X-Forwarded-For": "203.0.113.20, 203.0.113.21"}
        )

    assert codes == [200, 200, 200, 200, 429]
    assert elsewhere.status_code == 302
    assert list(AccessAttempt.objects.values_list("ip_address", "failures_since_start")) == [("203.0.113.20", 5)]


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [("", 200), ("203.0.113.5", 403), ("127.0.0.1, 203.0.113.5", 403), ("127.0.0.1", 403), ("[::1]:443", 403), ("::1", 403)],
)
def test_metrics_are_for_this_machine_and_not_for_who_claims_to_be_on_it(web: Web, forwarded: str, status: int) -> None:
    with web.client(forwarded) as client:
        assert client.get("/metrics").status_code == status


@pytest.mark.parametrize("announced", [True, False])
def test_who_sends_too_much_reads_so_when_all_is_sent(web: Web, announced: bool) -> None:
    size, host = 12 * 2**20, web.url.removeprefix("http://")
    length = f"Content-Length: {size}" if announced else "Transfer-Encoding: chunked"
    chunk = b"x" * 2**20

    with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(f"POST /sign-in/ HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 203.0.113.60\r\n{length}\r\n\r\n".encode())
        for _ in range(size // len(chunk)):
            connection.sendall(chunk if announced else b"%x\r\n%s\r\n" % (len(chunk), chunk))
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_database_of_another_version_is_said_on_every_page_and_never_a_500(web: Web, cookies: dict[str, str]) -> None:
    with newer_database(), httpx.Client(base_url=web.url, cookies=cookies, timeout=60) as member:
        member.headers["X-Forwarded-For"] = "203.0.113.40"
        page = wait_for(lambda: (found := member.get("/p/distillery/")).status_code == 503 and found, every=0.5, what="the next look")
        api, alive, ready = (member.get(path) for path in ("/api/v1/me/", "/healthz", "/readyz"))

    assert NEWER in page.text
    assert (api.status_code, api.json()) == (503, {"detail": NEWER})
    assert (alive.status_code, ready.status_code, ready.json()["database"]) == (200, 503, NEWER)
    wait_for(lambda: httpx.get(f"{web.url}/readyz").status_code == 200, every=0.5, what="the next look")
