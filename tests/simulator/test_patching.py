"""Patches of plain dictionaries."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.patching import json_patched, merged
from sre_server.simulator.statuses import Refusal

Step = dict[str, object]


class MergePatchTests(SynchronousTestCase):
    """RFC 7386."""

    def test_merged(self) -> None:
        """Fields are replaced, added and removed at any depth; the target stays as it was."""
        target = {"a": {"b": 1, "c": 2}, "d": [1]}
        patch = {"a": {"b": None, "e": {"f": None, "g": 3}}, "d": [2]}
        self.assertEqual(merged(target, patch), {"a": {"c": 2, "e": {"g": 3}}, "d": [2]})
        self.assertEqual(target, {"a": {"b": 1, "c": 2}, "d": [1]})


class JSONPatchTests(SynchronousTestCase):
    """RFC 6902, on objects."""

    def patched(self, *steps: Step) -> object:
        """Patch an object with one field at each of two depths and an empty object."""
        return json_patched({"a/b": 1, "spec": {}, "c": {"d": 2}}, list(steps))

    def test_steps(self) -> None:
        """Fields are added, replaced, removed and tested, in this order, with escapes in the path."""
        self.assertEqual(
            self.patched(
                {"op": "add", "path": "/spec/replicas", "value": 3},
                {"op": "test", "path": "/spec/replicas", "value": 3},
                {"op": "replace", "path": "/a~1b", "value": 4},
                {"op": "remove", "path": "/c/d"},
            ),
            {"a/b": 4, "spec": {"replicas": 3}, "c": {}},
        )

    def test_absent_is_null(self) -> None:
        """A test for null passes where the field is absent, as a count of 0 is in a Scale."""
        self.patched({"op": "test", "path": "/spec/replicas", "value": None})
        self.assertRaises(Refusal, self.patched, {"op": "test", "path": "/c/d", "value": None})

    def test_inapplicable(self) -> None:
        """A step that cannot be applied refuses the whole patch: 422; one that is no step is 400."""
        wrong: list[Step] = [
            {"op": "test", "path": "/c/d", "value": 3},
            {"op": "replace", "path": "/spec/replicas", "value": 3},
            {"op": "remove", "path": "/spec/replicas"},
            {"op": "add", "path": "/nothing/here", "value": 3},
            {"op": "odd", "path": "/c/d"},
        ]
        for step in wrong:
            self.assertEqual(self.assertRaises(Refusal, self.patched, step).code, 422, step)
        self.assertEqual(self.assertRaises(Refusal, self.patched, {"op": "add"}).code, 400)
