"""Options: precedence, refusals that name option, source and value."""

from pathlib import Path

import pytest

from clary.settings import SettingError, make_private_folder, otlp_options, resolve, runtime_dir


def toml(folder: Path, text: str) -> Path:
    path = folder / "clary.toml"
    path.write_text(text)
    return path


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = toml(tmp_path, '[serve]\nport = 1\nrouters = 3\naccount = "210987654321"\n')
    settings, origins = resolve({"port": "9"}, {"CLARY_PORT": "8", "CLARY_ROUTERS": "2"}, file)
    assert (settings.port, settings.routers, settings.account, settings.auth) == (9, 2, "210987654321", "none")
    assert {o.option: o.source for o in origins} | {"home": ""} == {
        "home": "",
        "host": "default",
        "port": "--port",
        "routers": "CLARY_ROUTERS",
        "auth": "default",
        "account": str(file),
        "region": "default",
        "long_poll": "default",
        "untrusted": "default",
        "hosts": "default",
        "object_store": "default",
        "model_roots": "default",
        "otlp_endpoint": "default",
        "store": "default",
    }


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"port": "70000"}, r"port = '70000' \(from --port\) is not a whole number from 1 to 65535"),
        ({"account": "12"}, "twelve digits"),
        ({"region": "mars"}, "look like us-east-1"),
        ({"auth": "basic"}, "is not one of none, sigv4"),
        ({"host": "example.org"}, "is not an IP address"),
        ({"host": "0.0.0.0"}, "--auth sigv4"),
        ({"hosts": "a b"}, "not a host name"),
        ({"object_store": "minio:9000"}, "not of the form s3://BUCKET"),
        ({"model_roots": "models"}, "absolute folders"),
        ({"model_roots": "/"}, "absolute folders"),
        ({"otlp_endpoint": "collector:4318"}, "is not an address such as http://127.0.0.1:4318"),
    ],
)
def test_a_bad_value_is_refused_by_name(flags: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        resolve(flags, {})


def test_the_environment_of_opentelemetry_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    settings, origins = resolve({}, env)
    assert settings.otlp_endpoint == "http://collector:4318"
    assert {o.option: o.source for o in origins}["otlp_endpoint"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    options = otlp_options(settings, env)
    assert options is not None
    assert options.traces is not None
    assert options.traces.url == "http://collector:4318/v1/traces"
    assert otlp_options(resolve({}, {})[0], {}) is None
    with pytest.raises(SettingError, match="OTEL_EXPORTER_OTLP_PROTOCOL = 'grpc' is not served; http/protobuf is"):
        otlp_options(settings, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"pip install 'clary\[otel\]'"):
        otlp_options(settings, env)


def test_a_typo_in_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="'prot', which is no option"):
        resolve({}, {}, toml(tmp_path, "[serve]\nprot = 1\n"))


def test_an_open_address_needs_authentication() -> None:
    settings, _ = resolve({"host": "0.0.0.0", "auth": "sigv4", "hosts": "Models.example.org"}, {})
    assert settings.hosts == ("models.example.org",)
    assert settings.url == "http://127.0.0.1:8430"


def test_the_runtime_folder_is_short_and_belongs_to_its_home(tmp_path: Path) -> None:
    one, other = runtime_dir(tmp_path / "a", {}), runtime_dir(tmp_path / "b", {})
    assert one != other
    assert len(str(one / "w-01ARZ3NDEKTSV4RRFFQ69G5FAV.sock")) < 107


def test_a_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "h").mkdir(mode=0o755)
    make_private_folder(tmp_path / "h")
    assert (tmp_path / "h").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "h")
    with pytest.raises(SettingError, match="not a folder of yours"):
        make_private_folder(tmp_path / "link")
