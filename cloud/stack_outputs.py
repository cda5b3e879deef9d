"""What the stack puts out, and the account that it and homeport.toml make."""

from __future__ import annotations

from cloud.account import Account, account_of
from cloud.aws import Clients
from cloud.aws_errors import ClientError, explained, message_of, told
from cloud.place import CloudPlace
from training_job.errors import AccountCannot

_READY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


def read_account(clients: Clients, place: CloudPlace) -> Account:
    """The account in force. Raises AccountCannot.

    Where homeport.toml names a role, a bucket and no stack, no stack is asked.
    """
    written = place.written
    by_hand = written.stack is None and written.role and written.bucket
    outputs = {} if by_hand else stack_outputs(clients, written.stack_name, place.region)
    return account_of(written, outputs, region=place.region)


def stack_outputs(clients: Clients, stack: str, region: str) -> dict[str, str]:
    """The outputs of a stack by their keys. Raises AccountCannot where there is no such stack, or it is not ready."""
    doing = f"describing stack {stack}"
    with told(doing, region):
        try:
            found = clients("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if "does not exist" not in message_of(error):
                raise explained(error, doing, region) from None
            raise AccountCannot(
                f"stack {stack}: there is none in {region}. Make it: homeport-cloud stack up; or name role and bucket, "
                "or another stack or region, in [cloud] of homeport.toml"
            ) from None
    if found["StackStatus"] not in _READY:
        raise AccountCannot(
            f"stack {stack} in {region} is {found['StackStatus']}: look at it with homeport-cloud stack status, and "
            "bring it up with homeport-cloud stack up"
        )
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
