"""Arrays of a network by name: their place in its tree, such as `layers/0/kernel`."""

from collections.abc import Mapping
from typing import Any

import jax


def by_name(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves by name, in the order of the tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        prefix + jax.tree_util.keystr(place, simple=True, separator="/"): leaf
        for place, leaf in leaves
    }


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of dictionaries in which the leaves have these names."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = leaf
    return tree
