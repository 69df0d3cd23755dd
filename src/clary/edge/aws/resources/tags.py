"""SageMaker tags: AddTags, ListTags, DeleteTags."""

from __future__ import annotations

from clary.control import tags
from clary.control.desk import Desk
from clary.domain.errors import Invalid
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.members import caller_of, tag_list, tags_of


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of tags."""

    async def add_tags(call: Call, members: Members) -> Members:
        return {"Tags": tag_list(await tags.add(desk, caller_of(call), members["ResourceArn"], tags_of(members)))}

    async def list_tags(call: Call, members: Members) -> Members:
        # A resource has at most 50 tags and a page at least 50: there is no second page, hence no token of ours.
        if members.get("NextToken"):
            raise Invalid("NextToken is not valid: leave it out, all tags of a resource fit on one page.")
        return {"Tags": tag_list(await tags.list_tags(desk, caller_of(call), members["ResourceArn"]))}

    async def delete_tags(call: Call, members: Members) -> Members:
        await tags.remove(desk, caller_of(call), members["ResourceArn"], list(members["TagKeys"]))
        return {}

    served = Field.SERVED
    return (
        Operation("sagemaker", "AddTags", add_tags, {"ResourceArn": served, "Tags": served}),
        Operation(
            "sagemaker", "ListTags", list_tags, dict.fromkeys(("ResourceArn", "NextToken", "MaxResults"), served)
        ),
        Operation("sagemaker", "DeleteTags", delete_tags, {"ResourceArn": served, "TagKeys": served}),
    )
