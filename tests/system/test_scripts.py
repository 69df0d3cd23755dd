"""Scripts through real boto3: their functions, their errors, their prints, and answers in parts."""

from __future__ import annotations

import http.client
import re
import textwrap
from typing import Any

import joblib
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError
from sklearn.linear_model import LinearRegression

from tests.support.model import pack
from tests.support.server import ROLE, Server, wait_until

SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
PYTORCH = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312"


def script(text: str) -> bytes:
    return textwrap.dedent(text).encode()


def dumped(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("dump") / "model.joblib"
    joblib.dump(LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [1, 3, 4]), path)
    return path.read_bytes()


def events(server: Server, name: str, body: str, **more: Any) -> Any:
    runtime = server.client("sagemaker-runtime", retries={"total_max_attempts": 1})
    return runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=body, ContentType="text/plain", **more)


def log_of(server: Server) -> str:
    return "".join(path.read_text() for path in (server.home / "logs" / "endpoints").rglob("*.log"))


def test_a_scikit_learn_script_serves(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    code = script(
        """
        import os
        import joblib
        from sagemaker_containers.beta.framework import worker

        def model_fn(model_dir):
            print("loading from", os.path.basename(model_dir))
            return joblib.load(os.path.join(model_dir, "model.joblib"))

        def predict_fn(data, model):
            print("predicting", data.shape)
            return model.predict(data.reshape(1, -1) if data.ndim == 1 else data).round(6)
        """
    )
    archive = pack({"model.joblib": dumped(tmp_path_factory), "code/inference.py": code})
    server.host("scripted", archive, image=SKLEARN)
    assert server.invoke("scripted", "1,1") == "[6.0]"
    assert server.invoke("scripted", "1,1\n0,0", Accept="text/csv") == "6.0\n1.0\n"
    with pytest.raises(ClientError) as refused:
        server.invoke("scripted", "1,1", Accept="image/png")
    assert refused.value.response["OriginalStatusCode"] == 406
    with pytest.raises(ClientError) as refused:
        server.invoke("scripted", "1,1,1")
    assert refused.value.response["OriginalStatusCode"] == 500
    assert "<title>500 Internal Server Error</title>" in refused.value.response["OriginalMessage"]
    wait_until(lambda: "predicting (3,)" in log_of(server), "prints are in the log")
    assert "ValueError: X has 3 features" in log_of(server)
    # A model that gives no parts answers in one.
    stream = server.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName="scripted", Body="1,1", ContentType="text/csv", Accept="text/csv"
    )
    assert stream["ContentType"] == "text/csv; charset=utf-8"
    assert [event["PayloadPart"]["Bytes"] for event in stream["Body"]] == [b"6.0\n"]
    server.client("sagemaker").delete_endpoint(EndpointName="scripted")


STREAMER = script(
    """
    import os
    import time

    def model_fn(model_dir):
        return "model"

    def input_fn(data, content_type, context):
        return data.decode()

    def predict_fn(data, model):
        for word in data.split():
            if word == "wait":
                time.sleep(0.1)
            if word == "die":
                os._exit(3)
            if word == "fill":
                yield from (b"x" * 1_000_000 for _ in map(print, range(1000)))
            if word == "fail":
                raise ValueError("no such word")
            print("word", word)
            yield word + " "

    def output_fn(prediction, accept, context):
        context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "words=1")
        return prediction, "text/plain"
    """
)


def test_a_generator_streams(server: Server) -> None:
    server.host("streamer", pack({"code/inference.py": STREAMER}), image=PYTORCH)
    answer = events(server, "streamer", "one two three")
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/plain", "AllTraffic")
    assert answer["CustomAttributes"] == "words=1"
    assert [event["PayloadPart"]["Bytes"] for event in answer["Body"]] == [b"one ", b"two ", b"three "]
    # Asked for no stream, the same model answers in one part.
    runtime = server.client("sagemaker-runtime")
    whole = runtime.invoke_endpoint(EndpointName="streamer", Body="one two", ContentType="text/plain")
    assert whole["Body"].read() == b"one two "

    # What fails before the first part is a ModelError, what fails later the stream's last event.
    with pytest.raises(ClientError) as refused:
        events(server, "streamer", "fail")
    assert refused.value.response["Error"]["Code"] == "ModelError"
    broken = events(server, "streamer", "one fail")["Body"]
    parts = iter(broken)
    assert next(parts)["PayloadPart"]["Bytes"] == b"one "
    with pytest.raises(EventStreamError) as error:
        next(parts)
    broken.close()
    assert error.value.response["Error"]["Code"] == "ModelStreamError"
    assert "no such word" in str(error.value)

    # A part leaves when it is made; a client that goes away frees the model, which would take hours.
    left = events(server, "streamer", "first " + "wait " * 100_000)
    assert next(iter(left["Body"]))["PayloadPart"]["Bytes"] == b"first "
    left["Body"].close()
    after = runtime.invoke_endpoint(EndpointName="streamer", Body="next", ContentType="text/plain")
    assert after["Body"].read() == b"next "

    # A client that does not read makes the model wait: little of the gigabyte is made.
    slow = events(server, "streamer", "fill")
    history: list[int] = []

    def settled() -> bool:
        history.append(log_of(server).count("\n"))
        return len(history) > 50 and history[-1] == history[-50]

    wait_until(settled, "the model waits")
    assert 5 < len(re.findall(r"^\d+$", log_of(server), re.MULTILINE)) < 200
    slow["Body"].close()

    # A process that dies breaks its stream; the next one serves.
    died = events(server, "streamer", "one die")["Body"]
    parts = iter(died)
    assert next(parts)["PayloadPart"]["Bytes"] == b"one "
    with pytest.raises(EventStreamError, match="The model's process ended"):
        next(parts)
    died.close()
    again = runtime.invoke_endpoint(EndpointName="streamer", Body="back", ContentType="text/plain")
    assert again["Body"].read() == b"back "

    # On a connection that control holds, because it came with something else first, parts pass through as well.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/clary/health")
    connection.getresponse().read()
    path = "/endpoints/streamer/invocations-response-stream"
    connection.request("POST", path, b"one two", {"Content-Type": "text/plain"})
    response = connection.getresponse()
    buffer = EventStreamBuffer()
    buffer.add_data(response.read())
    assert response.headers["X-Amzn-SageMaker-Content-Type"] == "text/plain"
    assert [event.payload for event in buffer] == [b"one ", b"two "]
    connection.close()
    server.client("sagemaker").delete_endpoint(EndpointName="streamer")


@pytest.mark.parametrize(
    ("name", "image", "code", "answer", "error"),
    [
        (
            "of-tensorflow",
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-inference:2.19.0-cpu",
            """
            def handler(data, context):
                numbers = [float(cell) for cell in data.read().decode().split(",")]
                return str(sum(numbers)), context.accept_header
            """,
            "3.0",
            (500, '{"error": "could not convert string to float: \'x\'"}'),
        ),
        (
            "of-hugging-face",
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:"
            "2.6.0-transformers4.51.3-cpu-py312-ubuntu22.04",
            """
            def model_fn(model_dir):
                return lambda inputs: sum(float(cell) for cell in inputs)

            def input_fn(data, content_type):
                return {"inputs": data.split(",")}
            """,
            "3.0",
            (400, "could not convert string to float: 'x'"),
        ),
    ],
)
def test_scripts_of_other_images(
    server: Server, name: str, image: str, code: str, answer: str, error: tuple[int, str]
) -> None:
    """Their libraries are not installed: a script that brings all its functions needs none of them."""
    server.host(name, pack({"code/inference.py": script(code)}), image=image)
    assert server.invoke(name, "1,2") == answer
    with pytest.raises(ClientError) as refused:
        server.invoke(name, "x")
    assert refused.value.response["OriginalStatusCode"] == error[0]
    assert error[1] in refused.value.response["OriginalMessage"]
    server.client("sagemaker").delete_endpoint(EndpointName=name)


def test_scripts_of_a_sourcedir_on_s3_are_pinned_with_the_model(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As the SDK deploys an estimator: the script lies in an archive of its own, named by the environment."""
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.create_bucket(Bucket="sourced")
    entry = script(
        """
        import os
        import joblib
        from helpers import shift

        def model_fn(model_dir):
            return joblib.load(os.path.join(model_dir, "model.joblib"))

        def predict_fn(data, model):
            return shift(model.predict(data.reshape(-1, 2)))
        """
    )
    files = {"serve.py": entry, "helpers.py": b"def shift(values): return (values + 100).round(6)"}
    s3.put_object(Bucket="sourced", Key="code/sourcedir.tar.gz", Body=pack(files))
    s3.put_object(Bucket="sourced", Key="model.tar.gz", Body=pack({"model.joblib": dumped(tmp_path_factory)}))
    environment = {
        "SAGEMAKER_PROGRAM": "serve.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "s3://sourced/code/sourcedir.tar.gz",
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
        "SAGEMAKER_REGION": "us-east-1",
    }
    for name, submitted in (("sourced", "sourcedir.tar.gz"), ("unsourced", "absent.tar.gz")):
        environment = {**environment, "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://sourced/code/{submitted}"}
        container = {"Image": SKLEARN, "ModelDataUrl": "s3://sourced/model.tar.gz", "Environment": environment}
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {"VariantName": "a", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="sourced")
    s3.delete_object(Bucket="sourced", Key="code/sourcedir.tar.gz")
    assert server.invoke("sourced", "1,1") == "[106.0]"
    seen = wait_until(
        lambda: (d := sagemaker.describe_endpoint(EndpointName="unsourced"))["EndpointStatus"] == "Failed" and d,
        "an end",
    )
    assert "SAGEMAKER_SUBMIT_DIRECTORY: Could not find scripts at s3://sourced/code/absent" in seen["FailureReason"]
    for name in ("sourced", "unsourced"):
        sagemaker.delete_endpoint(EndpointName=name)


@pytest.mark.parametrize(
    ("image", "files", "says"),
    [
        (PYTORCH, {"model.pth": b"x"}, ("needs the module 'torch', which is not installed", "Add torch to")),
        (SKLEARN, {"code/inference.py": b"import nowhere"}, ("Importing inference.py needs the module 'nowhere'",)),
        (SKLEARN, {"code/inference.py": b"def model_fn(d):\n    return 1 / 0"}, ("ZeroDivisionError", "line 2")),
        (
            SKLEARN,
            {"code/inference.py": b"def model_fn(d): 1\ndef transform_fn(*a): 1\ndef input_fn(*a): 1"},
            ("Cannot use transform_fn implementation", "Remove transform_fn, or input_fn"),
        ),
    ],
)
def test_a_script_that_cannot_serve_says_why(
    server: Server, image: str, files: dict[str, bytes], says: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    name = f"unscripted-{abs(hash(request.node.name)) % 10**6}"
    server.host(name, pack(files), image=image, wait=False)
    sagemaker = server.client("sagemaker")
    seen = wait_until(
        lambda: (d := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] == "Failed" and d, "an end"
    )
    assert all(word in seen["FailureReason"] for word in says), seen["FailureReason"]
    sagemaker.delete_endpoint(EndpointName=name)
