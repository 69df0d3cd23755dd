"""SageMaker Runtime, as the door sees it: the fields of what routers serve (`clary.dataplane.invoke`).

Invocations never reach the door: routers answer them, and control forwards those that come on its own connections
(`clary.edge.forward`). What stands here is the table of fields that the documentation prints and tests hold true.
"""

from __future__ import annotations

from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation

_SERVED = ("EndpointName", "Body", "ContentType", "Accept", "CustomAttributes", "TargetVariant", "InferenceId")
_REFUSED = {
    "TargetModel": "Endpoints with several models in one container come with a later release.",
    "TargetContainerHostname": "Endpoints with several containers come with a later release.",
    "EnableExplanations": "Explainers come with a later release.",
    "InferenceComponentName": "Inference components come with a later release; name a variant with TargetVariant.",
    "SessionId": "Stateful sessions come with a later release.",
    "PrefixAwareId": "Routing by prompt prefix comes with a later release.",
}


async def invoke_endpoint(call: Call, members: Members) -> Members:
    """Reached only where a deployment runs the door without routers."""
    del call, members
    raise AwsError("ServiceUnavailable", "Invocations are answered by Clary's routers, and none is in front.", 503)


_STREAMED = {name: note for name, note in _REFUSED.items() if name not in ("TargetModel", "EnableExplanations")}

OPERATIONS = (
    Operation(
        "sagemaker-runtime",
        "InvokeEndpoint",
        invoke_endpoint,
        fields={**dict.fromkeys(_SERVED, Field.SERVED), **dict.fromkeys(_REFUSED, Field.REFUSED)},
        notes=_REFUSED,
    ),
    Operation(
        "sagemaker-runtime",
        "InvokeEndpointWithResponseStream",
        invoke_endpoint,
        fields={**dict.fromkeys(_SERVED, Field.SERVED), **dict.fromkeys(_STREAMED, Field.REFUSED)},
        notes=_STREAMED,
    ),
)
