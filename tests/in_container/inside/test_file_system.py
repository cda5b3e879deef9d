"""What lies in the image: our code where SageMaker expects it, and nothing of the machine or the build that made it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

OURS = Path("/opt/ml/code")
HOST_CERTIFICATES = Path("/host-certificates.pem")
PUBLIC_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/opt/venv/lib/python3.11/site-packages/botocore/cacert.pem"),
)


def test_opt_ml_holds_the_entry_points_and_nothing_else() -> None:
    baked = {str(path.relative_to(OURS)) for path in OURS.rglob("*")}

    assert [path.name for path in OURS.parent.iterdir()] == ["code"]
    assert baked
    assert not [name for name in baked if "__pycache__" in name]


def test_the_image_brings_no_nvidia_smi_which_would_make_up_gpus() -> None:
    assert subprocess.run(["which", "nvidia-smi"], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("place", ["/run/secrets", "/dev/shm", "/tmp/horovod", "/root/.cache", "/var/lib/apt/lists"])
def test_the_build_left_nothing_in(place: str) -> None:
    assert not [path for path in Path(place).rglob("*") if path.is_file()]


def test_no_pip_or_apt_setting_of_the_machine_that_built_it_is_in_the_image() -> None:
    settings = [Path("/etc/pip.conf"), Path("/root/.pip"), Path("/root/.config/pip"), Path("/opt/venv/pip.conf")]
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout

    assert not [path for path in settings if path.exists()]
    assert not re.search(r'^Acquire::https?::(Proxy|CAInfo)\b.*".+"', dumped, re.MULTILINE | re.IGNORECASE)
    assert not [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("PIP_")]


def test_no_certificate_that_only_the_building_machine_trusts_is_in_the_image(tmp_path: Path) -> None:
    public = {certificate for bundle in PUBLIC_BUNDLES for certificate in _certificates(bundle)}
    foreign = [certificate for certificate in _certificates(HOST_CERTIFICATES) if certificate not in public]
    if not foreign:
        pytest.skip("the machine that built the image trusts nothing that the public does not")
    needles = tmp_path / "needles"
    # The last whole line belongs to the signature, which no renewal of the same certificate shares.
    needles.write_text("".join(f"{certificate.splitlines()[-3]}\n" for certificate in foreign))

    find = ["find", "/", "-xdev", "-type", "f", "-size", "-4M", "-exec", "grep", "-lF", "-f", str(needles), "{}", "+"]
    found = subprocess.run(find, capture_output=True, text=True, check=False).stdout.split()

    assert sorted(found) == sorted([str(HOST_CERTIFICATES), str(needles)])


def _certificates(bundle: Path) -> list[str]:
    text = bundle.read_text(encoding="latin-1") if bundle.exists() else ""
    return re.findall(r"-----BEGIN CERTIFICATE-----\n.+?-----END", text, re.DOTALL)
