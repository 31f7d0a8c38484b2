"""Our top-level names stay ours, and only the layers that may import the Daytona SDK do so.

An editable install puts the repository *behind* site-packages for console scripts, so a foreign
distribution with a module of the same name would silently win there:
`llama-index-workflows`, for one, installs a top-level `workflows`.
"""

import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
OWNERS = packages_distributions()  # Reads every installed RECORD, so once is enough.
ROOTS: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("root", ROOTS)
def test_root_package_belongs_to_no_other_distribution(root: str) -> None:
    """No installed distribution but issuebox provides one of our top-level packages."""
    assert set(OWNERS.get(root, [])) <= {"issuebox"}


@pytest.mark.parametrize("root", ROOTS)
def test_root_package_has_a_specific_name(root: str) -> None:
    """No root has a name so generic that another distribution is likely to ship it."""
    assert root not in {"shared", "models", "utils", "common", "lib", "core", "tests", "app"}


def test_package_list_is_complete() -> None:
    """The wheel carries every package of the repository except those that prove, measure, test and make the others."""
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert packages - set(ROOTS) == {"proofs", "bench", "tests", "scripts"}
    assert set(ROOTS) <= packages


def test_console_scripts_point_into_our_roots() -> None:
    """Each console script is served by a package that the wheel contains."""
    targets = PROJECT["project"]["scripts"].values()
    assert {target.split(".")[0] for target in targets} <= set(ROOTS)
