"""The Compose files: who depends on whom, what is secret, and that commands and variables are ones that exist."""

import re

import pytest

from tests.docker.reading import DOCKER, IMAGES, ROOT, Refused, compose, image, variables_of
from webapp.serve import Services

SECRETS = {"STILLHOUSE_SECRET_KEY": "key", "STILLHOUSE_DATABASE_PASSWORD": "password", "STILLHOUSE_HOSTS": "stillhouse.example.com"}
ELSEWHERE = {
    "STILLHOUSE_SECRET_KEY": "key",
    "DATABASE_URL": "postgresql://first/stillhouse",
    "REDIS_URL": "redis://first/0",
    "STILLHOUSE_SHARED_STORE": "/mnt/stillhouse",
}
BUCKET = {"STILLHOUSE_S3_BUCKET": "runs", "STILLHOUSE_S3_KEY_ID": "id", "STILLHOUSE_S3_SECRET": "secret"}
OURS = {"prepare", "web", "worker", "worker-cuda", "beat"}
DOCKERFILE_OF = {
    "prepare": "docker/web.Dockerfile",
    "web": "docker/web.Dockerfile",
    "worker": "docker/worker.Dockerfile",
    "beat": "docker/worker.Dockerfile",
    "worker-cuda": "docker/worker.cuda.Dockerfile",
}
READ_BY_OTHERS = {
    "PYTHONUNBUFFERED": "Python",
    "PYTHONPATH": "Python",
    "NVIDIA_VISIBLE_DEVICES": "NVIDIA's container runtime",
    "NVIDIA_DRIVER_CAPABILITIES": "NVIDIA's container runtime",
}


def words_of(name: str) -> list[str]:
    """How `make serve`, which the tests run, starts a service."""
    services = Services(host="0.0.0.0", port=8000, remember=lambda pids: None)
    return list(next(service.arguments for service in services._all if service.name == name))


def variables_read_by_our_code() -> set[str]:
    sources = [path for room in ("engine", "webapp", "workers") for path in (ROOT / room).rglob("*.py")]
    return set(
        re.findall(r'"(STILLHOUSE_[A-Z0-9_]+|DATABASE_URL|REDIS_URL)"', "\n".join(path.read_text(encoding="utf-8") for path in sources))
    )


def test_every_part_is_there():
    services = compose("compose.yaml", variables=SECRETS)["services"]

    assert set(services) == OURS | {"postgres", "redis"}
    assert services["postgres"]["image"].startswith("postgres:18")
    assert {name: services[name]["build"]["dockerfile"] for name in OURS} == DOCKERFILE_OF


@pytest.mark.parametrize("missing", SECRETS)
def test_it_does_not_start_without_a_secret_or_a_name(missing: str):
    with pytest.raises(Refused, match=missing):
        compose("compose.yaml", variables=SECRETS | {missing: ""})


@pytest.mark.parametrize("missing", ELSEWHERE)
def test_workers_elsewhere_do_not_start_without_the_first_machines_addresses(missing: str):
    with pytest.raises(Refused, match=missing):
        compose("compose.worker.yaml", variables=ELSEWHERE | {missing: ""})


def test_no_secret_is_written_into_a_file():
    files = [*DOCKER.glob("*.yaml"), *DOCKER.glob("*.Dockerfile"), DOCKER / "example.env"]

    written = re.findall(
        r"^ *(?:# )?\w*(?:SECRET|PASSWORD|KEY_ID|TOKEN)\w*[:=] ?(\S+)",
        "\n".join(file.read_text(encoding="utf-8") for file in files),
        re.MULTILINE,
    )

    assert [value for value in written if not value.startswith("${")] == []


@pytest.mark.parametrize("name", sorted({"web", "worker", "worker-cuda", "beat"}))
def test_nothing_of_ours_starts_before_database_and_catalog_are_ready(name: str):
    waits_for = compose("compose.yaml", variables=SECRETS)["services"][name]["depends_on"]

    assert {other: rule["condition"] for other, rule in waits_for.items()} == {
        "prepare": "service_completed_successfully",
        "postgres": "service_healthy",
        "redis": "service_healthy",
    }


def test_preparation_brings_up_tables_and_catalog_and_ends():
    prepare = compose("compose.yaml", variables=SECRETS)["services"]["prepare"]

    # The commands of webapp.serve.prepare, which every start of `make serve` and `make demo` runs.
    assert prepare["command"] == ["sh", "-c", "python manage.py migrate --no-input && python manage.py sync_catalog"]
    assert prepare["restart"] == "no"


def test_the_commands_are_those_of_make_serve():
    beat = compose("compose.yaml", variables=SECRETS)["services"]["beat"]["command"]

    assert image("web").command == words_of("web")
    assert image("worker").command == image("worker.cuda").command == words_of("worker")
    assert beat == words_of("beat")


@pytest.mark.parametrize("name", ["postgres", "redis", "beat"])
def test_a_service_whose_image_has_no_health_check_of_its_own_has_one_here(name: str):
    check = compose("compose.yaml", variables=SECRETS)["services"][name]["healthcheck"]

    assert check["test"][0] == "CMD"


@pytest.mark.parametrize(("name", "role"), [("web", "web"), ("worker", "worker"), ("worker.cuda", "worker")])
def test_an_image_asks_the_health_of_its_role(name: str, role: str):
    assert image(name).health == ["python", "health.py", role]


@pytest.mark.parametrize(("file", "variables"), [("compose.yaml", SECRETS), ("compose.worker.yaml", ELSEWHERE)])
def test_every_variable_that_a_container_gets_is_read_by_somebody(file: str, variables: dict[str, str]):
    services = compose(file, variables=variables)["services"]
    given = {name for service in OURS & set(services) for name in services[service]["environment"]}
    given |= {name for each in IMAGES for name in image(each).environment}

    assert given - variables_read_by_our_code() - set(READ_BY_OTHERS) == set()


@pytest.mark.parametrize("file", ["compose.yaml", "compose.s3.yaml", "compose.worker.yaml"])
def test_the_example_names_every_variable(file: str):
    example = (DOCKER / "example.env").read_text(encoding="utf-8")

    named = set(re.findall(r"^(?:# )?(\w+)=", example, re.MULTILINE))

    assert variables_of(file) - named == set()


@pytest.mark.parametrize("name", ["web", "worker", "worker-cuda"])
def test_artifacts_outlive_containers_and_are_shared(name: str):
    service = compose("compose.yaml", variables=SECRETS)["services"][name]

    assert "store:/var/lib/stillhouse/store" in [
        mount if isinstance(mount, str) else f"{mount['source']}:{mount['target']}" for mount in service["volumes"]
    ]
    assert service["environment"]["STILLHOUSE_STORE"] == "/var/lib/stillhouse/store"


def test_a_bucket_takes_the_place_of_the_stores_volume():
    store = compose("compose.yaml", "compose.s3.yaml", variables=SECRETS | BUCKET)["volumes"]["store"]

    assert store["driver"] == "rclone"
    assert {name: store["driver_opts"][name] for name in ("type", "path", "s3_access_key_id", "s3_secret_access_key")} == {
        "type": "s3",
        "path": "runs",
        "s3_access_key_id": "id",
        "s3_secret_access_key": "secret",
    }


@pytest.mark.parametrize(("file", "variables"), [("compose.yaml", SECRETS), ("compose.worker.yaml", ELSEWHERE)])
def test_the_gpu_worker_is_asked_for_by_profile_and_has_no_slot_on_the_cpu(file: str, variables: dict[str, str]):
    worker = compose(file, variables=variables)["services"]["worker-cuda"]

    assert worker["profiles"] == ["cuda"]
    assert str(worker["environment"]["STILLHOUSE_CPU_SLOTS"]) == "0"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_only_the_web_has_a_port_and_only_for_this_machine():
    services = compose("compose.yaml", variables=SECRETS | {"STILLHOUSE_PORT": "9000"})["services"]

    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}

    assert list(ports) == ["web"]
    (port,) = ports["web"]
    shown = port if isinstance(port, str) else f"{port['host_ip']}:{port['published']}:{port['target']}"
    assert shown == "127.0.0.1:9000:8000"


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_have_no_privileges(name: str):
    service = compose("compose.yaml", variables=SECRETS)["services"][name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
