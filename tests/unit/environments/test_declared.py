"""What an artifact needs, read from its files: nothing runs, nothing leaves the artifact."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.domain.errors import ArtifactError
from clary.environments.declared import Declared, declared_by
from clary.environments.needs import lean, needs_of


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read(folder: Path, **files: str) -> Declared:
    found = declared_by(written(folder, {name.replace("__", "/"): text for name, text in files.items()}))
    assert found is not None
    return found


def test_most_artifacts_say_nothing(tmp_path: Path) -> None:
    assert (
        declared_by(written(tmp_path, {"xgboost-model": "x", "code/inference.py": "", "sub/requirements.txt": "a"}))
        is None
    )


def test_a_list_of_requirements(tmp_path: Path) -> None:
    text = "# what it needs\nsix==1.16.0  # pinned\n\nnumpy>=1.26 ; python_version < '4'\n--extra-index-url https://i/simple\n"
    found = declared_by(written(tmp_path, {"code/requirements.txt": text}))
    assert found is not None
    assert found.source == "code/requirements.txt"
    assert found.requirements == ("six==1.16.0", "numpy>=1.26 ; python_version < '4'")
    assert found.options == ("--extra-index-url https://i/simple",)
    assert found.names() == {"six", "numpy"}
    assert found.python == ""


def test_code_comes_before_the_top_and_a_python_env_before_a_list(tmp_path: Path) -> None:
    files = {"requirements.txt": "top", "conda.yaml": "dependencies: [{pip: [conda]}]"}
    assert declared_by(written(tmp_path, files)).requirements == ("conda",)  # type: ignore[union-attr]
    written(tmp_path, {"python_env.yaml": "python: 3.10\ndependencies: [-r requirements.txt]\n"})
    found = declared_by(tmp_path)
    assert found is not None
    assert (found.requirements, found.python) == (("top",), "3.10")
    written(tmp_path, {"code/requirements.txt": "code"})
    assert declared_by(tmp_path).requirements == ("code",)  # type: ignore[union-attr]


@pytest.mark.parametrize("submit", ["src", "/opt/ml/model/src", "src/"])
def test_the_folder_of_the_scripts_comes_first(submit: str, tmp_path: Path) -> None:
    written(tmp_path, {"src/requirements.txt": "mine", "code/requirements.txt": "other"})
    found = declared_by(tmp_path, submit)
    assert found is not None
    assert (found.source, found.requirements) == ("src/requirements.txt", ("mine",))
    for elsewhere in ("s3://b/sourcedir.tar.gz", "/etc", "../..", "missing"):
        found = declared_by(tmp_path, elsewhere)
        assert found is not None
        assert found.source == "code/requirements.txt"


def test_an_mlflow_folder_below_the_top(tmp_path: Path) -> None:
    env = 'python: "3.11.9"\nbuild_dependencies: [pip==23]\ndependencies:\n- -r requirements.txt\n'
    files = {
        "saved/MLmodel": "",
        "saved/python_env.yaml": env,
        "saved/requirements.txt": "mlflow==3.1.0\nscikit-learn\n",
    }
    found = declared_by(written(tmp_path, files))
    assert found is not None
    assert (found.source, found.python) == ("saved/python_env.yaml", "3.11")
    assert lean("pyfunc", found)[0] == ("mlflow-skinny==3.1.0", "scikit-learn")
    assert "stands for mlflow==3.1.0" in lean("pyfunc", found)[1][0]
    assert lean("sklearn", found) == (found.requirements, ())
    assert "mlflow-skinny" not in needs_of("pyfunc", found)
    assert "pandas" in needs_of("pyfunc", found)


def test_other_packages_that_begin_with_mlflow_stay(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("mlflow\nmlflow-skinny\nmlflow_plugin==1\n")
    found = declared_by(tmp_path)
    assert found is not None
    assert lean("pyfunc", found)[0] == ("mlflow-skinny", "mlflow-skinny", "mlflow_plugin==1")


def test_conda_as_mlflow_writes_it(tmp_path: Path) -> None:
    text = "channels: [conda-forge]\ndependencies:\n- python=3.12.1\n- pip<=24\n- pip:\n  - six\n  - x==1\n"
    found = declared_by(written(tmp_path, {"conda.yaml": text}))
    assert found is not None
    assert (found.python, found.requirements) == ("3.12", ("six", "x==1"))


def test_packages_of_conda_itself_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"packages of conda: conda-forge::numpy=1\.24, cudatoolkit") as refused:
        declared_by(written(tmp_path, {"conda.yaml": "dependencies: [python, 'conda-forge::numpy=1.24', cudatoolkit]"}))
    assert "pip:" in refused.value.remedy


def test_a_pipfiles_lock(tmp_path: Path) -> None:
    lock = {
        "_meta": {
            "requires": {"python_version": "3.11"},
            "sources": [{"name": "pypi", "url": "https://public/x"}, {"name": "ours", "url": "https://i/x"}],
        },
        "default": {
            "six": {"version": "==1.16.0", "hashes": ["sha256:0"]},
            "y": {"version": "==2", "extras": ["z"], "markers": "python_version >= '3.9'"},
        },
        "develop": {"pytest": {"version": "==1"}},
    }
    found = declared_by(written(tmp_path, {"code/Pipfile.lock": json.dumps(lock)}))
    assert found is not None
    assert found.requirements == ("six==1.16.0", "y[z]==2 ; python_version >= '3.9'")
    assert (found.python, found.options) == ("3.11", ("--extra-index-url https://i/x",))
    lock["default"] = {"mine": {"path": "."}}
    (tmp_path / "code/Pipfile.lock").write_text(json.dumps(lock))
    with pytest.raises(ArtifactError, match="takes mine from elsewhere"):
        declared_by(tmp_path)


def test_files_that_a_list_includes(tmp_path: Path) -> None:
    files = {
        "code/requirements.txt": "-r more/base.txt\n-c limits.txt\nlast\n",
        "code/more/base.txt": "first \\\n  >= 1\n",
        "code/limits.txt": "first<3\n",
    }
    found = declared_by(written(tmp_path, files))
    assert found is not None
    assert found.requirements == ("first    >= 1", "last")
    assert found.constraints == ("first<3",)


def test_local_wheels_count_by_their_contents(tmp_path: Path) -> None:
    files = {"code/requirements.txt": "./wheels/a-1.whl\n--find-links wheels\n", "code/wheels/a-1.whl": "one"}
    first = declared_by(written(tmp_path, files))
    second = declared_by(written(tmp_path, {"code/wheels/a-1.whl": "two"}))
    assert first is not None
    assert second is not None
    assert first.requirements == (str(tmp_path / "code/wheels/a-1.whl"),)
    assert first.options == (f"--find-links {tmp_path / 'code/wheels'}",)
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-r /etc/passwd", "names /etc/passwd, which lies outside"),
        ("-r ../../secret", "lies outside the artifact"),
        ("-r https://host/list", "lies outside the artifact"),
        ("-c ../../x", "lies outside"),
        ("../../x.whl", "lies outside"),
        ("/etc", "lies outside"),
        ("-f ../..", "lies outside"),
        ("-r missing.txt", "names missing.txt, which is not in the artifact"),
        ("-e .", "holds the option -e, which is not served"),
        ("--config-settings=x", "holds the option --config-settings"),
        ("-r requirements.txt", "in a circle"),
        ("--extra-index-url https://elsewhere/${UV_DEFAULT_INDEX}", "takes something from the environment"),
        ("a\n" * 2001, "names 2001 requirements"),
        ("#" * 1024**2 + "#", "more than 1048576 bytes"),
    ],
)
def test_what_leads_out_of_the_artifact_or_is_not_served_is_refused(line: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as refused:
        declared_by(written(tmp_path / "artifact", {"code/requirements.txt": line}))
    assert said in refused.value.cause
    assert refused.value.cause.startswith("code/requirements.txt ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("python_env.yaml", 'dependencies: ["six\\n-r /etc/passwd"]'),
        ("conda.yaml", 'dependencies: [{pip: ["six\\r-r /etc/passwd"]}]'),
        ("Pipfile.lock", '{"default": {"-r /etc/passwd #": {"version": ""}}}'),
        ("Pipfile.lock", '{"default": {"six": {"version": "==1\\n-r /etc/passwd"}}}'),
        ("Pipfile.lock", '{"default": {}, "_meta": {"sources": [{"url": "https://i\\n-r /etc/passwd"}]}}'),
    ],
)
def test_no_document_smuggles_a_line(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"lies outside|no package"):
        declared_by(written(tmp_path, {name: text}))


def test_a_link_out_of_the_artifact_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {"outside.txt": "x", "artifact/code/requirements.txt": "-r link.txt"})
    (tmp_path / "artifact/code/link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(ArtifactError, match="lies outside"):
        declared_by(tmp_path / "artifact")


@pytest.mark.parametrize(("python", "said"), [("3.8.1", "Python 3.8; workers run on 3.9"), ("three", "no version")])
def test_a_python_that_cannot_be_is_refused(python: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=said):
        declared_by(written(tmp_path, {"python_env.yaml": f"python: {python}"}))


ANYTHING = st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), st.sampled_from([b"- a", b"[]"]))


@pytest.mark.parametrize("name", ["python_env.yaml", "conda.yaml", "Pipfile.lock", "requirements.txt"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    raw=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), st.sampled_from([b"- a", b"[]", b"{}"]))
)
def test_whatever_the_files_hold(name: str, raw: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    with contextlib.suppress(ArtifactError):
        assert isinstance(declared_by(tmp_path), Declared)


@pytest.mark.parametrize(
    ("runtime", "listed", "added"),
    [
        ("sklearn", "six", ("joblib", "numpy", "scikit-learn")),
        ("sklearn", "Scikit_Learn==1.5\nnumpy<2", ("joblib",)),
        ("xgboost", "xgboost==2.0", ("numpy",)),
        ("xgboost", "xgboost-cpu", ("numpy",)),
        ("onnx", "onnxruntime-gpu", ("numpy",)),
        ("pytorch", "torch", ("numpy",)),
        ("mine", "torch", ()),
    ],
)
def test_a_worker_gets_what_its_runtime_imports(
    runtime: str, listed: str, added: tuple[str, ...], tmp_path: Path
) -> None:
    found = declared_by(written(tmp_path, {"requirements.txt": listed}))
    assert found is not None
    assert needs_of(runtime, found) == (*added, "setproctitle", "threadpoolctl")
