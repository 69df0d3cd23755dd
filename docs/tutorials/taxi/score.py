"""Ask the endpoint about every ride of February, through plain boto3."""

import gzip
import json
from pathlib import Path

import boto3
import numpy as np

DATA = Path(__file__).parent.parent / "data" / "nyc-taxi-green"
ROWS_A_REQUEST = 5000

with gzip.open(DATA / "2023-02.csv.gz", "rt") as source:
    lines = source.read().splitlines()[1:]
rows = [line.rpartition(",")[0] for line in lines]
minutes = [float(line.rpartition(",")[2]) for line in lines]

runtime = boto3.client("sagemaker-runtime")
answers = []
for start in range(0, len(rows), ROWS_A_REQUEST):
    body = "\n".join(rows[start : start + ROWS_A_REQUEST])
    answer = runtime.invoke_endpoint(EndpointName="taxi", ContentType="text/csv", Body=body)
    answers += json.loads(answer["Body"].read())

error = np.sqrt(np.mean((np.array(answers) - np.array(minutes)) ** 2))
print(f"{len(answers)} rides asked: RMSE {error:.2f} minutes")
