"""Whether a job's network lets it reach its file systems and its own hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cloud.account_answers import Answers, Finding, Missing, Mounted, Unknown, a_fault, an_unknown
from training_job.model import TrainingJob

LUSTRE_PORTS = ((988, 988), (1018, 1023))
"""TCP, to and from the file system (developer guide, model-access-training-data; Lustre's security group)."""
NFS_PORTS = ((2049, 2049),)
ALL_PORTS = ((0, 65535),)


def network_findings(job: TrainingJob, answers: Answers) -> Iterator[Finding]:
    """What its subnets, security groups and file systems lack for the job."""
    yield from _subnets(job, answers)
    yield from _security_groups(job, answers)
    yield from _file_systems(job, answers)


def _subnets(job: TrainingJob, answers: Answers) -> Iterator[Finding]:
    if job.vpc_config is None:
        return
    where = f"subnets {', '.join(job.vpc_config.subnets)}"
    match answers.subnets:
        case Unknown():
            yield an_unknown(where, answers.subnets)
        case Missing():
            yield a_fault(
                where, "one of them is not there; look at subnets in [cloud] of homeport.toml, or at the stack"
            )
        case found:
            zones = {found[name].zone for name in job.vpc_config.subnets if name in found}
            for name, offered in answers.zones.items():
                if isinstance(offered, frozenset) and offered and zones and not zones & offered:
                    there, here = (", ".join(sorted(some)) for some in (offered, zones))
                    yield a_fault(name, f"is offered in {there}, and the subnets are in {here}")


def _security_groups(job: TrainingJob, answers: Answers) -> Iterator[Finding]:
    if job.vpc_config is None:
        return
    groups = job.vpc_config.security_group_ids
    where = f"security groups {', '.join(groups)}"
    if isinstance(answers.security_groups, Unknown):
        yield an_unknown(where, answers.security_groups)
        return
    if isinstance(answers.security_groups, Missing):
        yield a_fault(
            where, "one of them is not there; look at security_groups in [cloud] of homeport.toml, or the stack"
        )
        return
    kinds = {
        source.file_system_type
        for channel in job.channels
        if (source := channel.data_source.file_system_data_source) is not None
    }
    needs = [("FSx for Lustre", LUSTRE_PORTS)] * ("FSxLustre" in kinds) + [("EFS", NFS_PORTS)] * ("EFS" in kinds)
    if sum(group.instance_count for group in job.instance_groups) > 1:
        needs.append(("the hosts among each other", ALL_PORTS))
    for whom, ports in needs:
        for direction, key in (("in from", "IpPermissions"), ("out to", "IpPermissionsEgress")):
            rules = [rule for group in answers.security_groups for rule in group.get(key, ())]
            closed = [span for span in ports if not any(_opens(rule, span, groups) for rule in rules)]
            if closed:
                told = " and ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in closed)
                yield a_fault(
                    where, f"let no TCP {told} {direction} themselves, which {whom} needs: add a rule to itself"
                )


def _opens(rule: Mapping[str, Any], span: tuple[int, int], groups: Iterable[str]) -> bool:
    """Whether a rule lets all of `span` through between the groups themselves."""
    to_itself = any(pair.get("GroupId") in groups for pair in rule.get("UserIdGroupPairs", ()))
    to_all = any(block.get("CidrIp") == "0.0.0.0/0" for block in rule.get("IpRanges", ()))
    if not to_itself and not to_all:
        return False
    if rule.get("IpProtocol") == "-1":
        return True
    return bool(
        rule.get("IpProtocol") == "tcp" and rule.get("FromPort", 0) <= span[0] and rule.get("ToPort", 65535) >= span[1]
    )


def _file_systems(job: TrainingJob, answers: Answers) -> Iterator[Finding]:
    subnets = job.vpc_config.subnets if job.vpc_config else ()
    seen = set()
    for channel in job.channels:
        source = channel.data_source.file_system_data_source
        if source is None or source.file_system_id in seen:
            continue
        seen.add(source.file_system_id)
        where, found = f"file system {source.file_system_id}", answers.file_systems.get(source.file_system_id)
        if isinstance(found, Unknown):
            yield an_unknown(where, found)
        elif isinstance(found, Missing):
            yield a_fault(where, "is not there; look at [cloud.file_systems] of homeport.toml, or at the stack")
        elif found is not None:
            first = source.directory_path.lstrip("/").partition("/")[0]
            if found.mount_name not in (None, first):
                yield a_fault(where, f"has the mount name {found.mount_name}, and the path begins with /{first}")
            yield from _zones(where, found, subnets, answers)


def _zones(where: str, found: Mounted, subnets: Iterable[str], answers: Answers) -> Iterator[Finding]:
    """A job reaches a file system from its own zone."""
    known = answers.subnets
    if isinstance(known, Unknown | Missing):
        return
    theirs = {known[name] for name in found.subnets if name in known}
    ours = {known[name] for name in subnets if name in known}
    if not theirs or not ours:
        return
    if not {place.vpc for place in theirs} & {place.vpc for place in ours}:
        yield a_fault(where, "is in another VPC than the job's subnets; name subnets of its own")
    elif not {place.zone for place in theirs} & {place.zone for place in ours}:
        there, here = (", ".join(sorted({place.zone for place in places})) for places in (theirs, ours))
        yield a_fault(where, f"is in {there} and the job's subnets are in {here}: name a subnet of its zone")
