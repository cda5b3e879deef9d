"""Write how this machine reaches the outside as one shell file, which a build gets as a secret and no layer keeps.

    python3 host_settings.py [SUITE]  >  the file

In the build, bash reads it through BASH_ENV before every RUN. It sets the CA bundle, the proxies, pip's index and apt's
proxy; with a Debian SUITE also apt's mirror: HOMEPORT_APT_MIRROR, or this machine's own where it runs that suite.
Standard library only, and Python 3.9: it runs before any .venv.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

# A tmpfs in every RUN: what is written there ends with it.
SCRATCH = "/dev/shm/homeport"  # noqa: S108

CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
PIP_SETTINGS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "retries", "timeout")


def main() -> None:
    """Print the file."""
    suite = sys.argv[1] if len(sys.argv) > 1 else ""
    pip = pip_settings()
    files = {"ca.pem": ca_bundle(pip), "apt.conf": apt_conf(), "sources.list": apt_sources(suite)}
    variables = proxies() | {f"PIP_{key.upper().replace('-', '_')}": pip[key] for key in PIP_SETTINGS if key in pip}
    if files["ca.pem"]:
        variables |= dict.fromkeys(CA_VARIABLES, f"{SCRATCH}/ca.pem")
        files["apt.conf"] += f'Acquire::https::CAInfo "{SCRATCH}/ca.pem";\n'
    if files["sources.list"]:
        files["apt.conf"] += f'Dir::Etc::SourceList "{SCRATCH}/sources.list";\nDir::Etc::SourceParts "-";\n'
    variables["APT_CONFIG"] = f"{SCRATCH}/apt.conf"

    print(f"mkdir -p {SCRATCH}")
    for name, content in files.items():
        print(f"printf %s {shlex.quote(content)} >{SCRATCH}/{name}")
    for variable, value in variables.items():
        print(f"export {variable}={shlex.quote(value)}")


def ca_bundle(pip: dict[str, str]) -> str:
    """The certificates this machine trusts. Comments are left out: BuildKit takes secrets up to 500 KiB."""
    named = (os.environ.get(variable, "") for variable in CA_VARIABLES)
    for path in (*named, pip.get("cert", ""), *CA_BUNDLES):
        if path and Path(path).is_file():
            text = Path(path).read_text(encoding="latin-1")
            return "".join(re.findall(r"-----BEGIN.+?-----END [A-Z ]+-----\n", text, re.DOTALL))
    return ""


def proxies() -> dict[str, str]:
    """Both spellings, as curl reads only http_proxy and other programs only HTTP_PROXY."""
    found = {name: os.environ.get(name) or os.environ.get(name.upper()) for name in PROXY_VARIABLES}
    return {spelling: value for name, value in found.items() if value for spelling in (name, name.upper())}


def pip_settings() -> dict[str, str]:
    """Pip's settings from its files and environment, without the places that exist on this machine alone."""
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    parser = configparser.RawConfigParser()
    parser.read(
        (
            "/etc/pip.conf",
            Path.home() / ".pip/pip.conf",
            Path.home() / "Library/Application Support/pip/pip.conf",
            config_home / "pip/pip.conf",
            os.environ.get("PIP_CONFIG_FILE", os.devnull),
        )
    )
    settings = dict(parser["global"]) if parser.has_section("global") else {}
    settings |= {
        name[len("PIP_") :].lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
    if "default-timeout" in settings:
        settings["timeout"] = settings.pop("default-timeout")
    for key in ("index-url", "extra-index-url", "find-links"):
        remote = [place for place in settings.pop(key, "").split() if re.match(r"(git\+)?https?://", place)]
        if remote:
            settings[key] = " ".join(remote)
    return settings


def apt_conf() -> str:
    """This machine's settings for apt's own transport, less those that name files."""
    dump = _output("apt-config", "dump")
    return "".join(f"{line}\n" for line in dump.splitlines() if re.match(r'Acquire::(https?|Retries)\b.* "[^/"]', line))


def apt_sources(suite: str) -> str:
    """Where Debian's packages come from; nothing where the base image knows best."""
    if not suite:
        return ""
    if mirror := os.environ.get("HOMEPORT_APT_MIRROR"):
        return f"deb {mirror} {suite} main\n"
    if not re.search(rf"^VERSION_CODENAME={suite}$", _os_release(), re.MULTILINE):
        return ""
    line = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)\n"
    return _output("apt-get", "indextargets", "--format", line, "Created-By: Packages", "Origin: Debian")


def _os_release() -> str:
    path = Path("/etc/os-release")
    return path.read_text() if path.is_file() else ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    main()
