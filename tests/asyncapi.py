"""The AsyncAPI document as a client reads it: which of its messages a frame is."""

import re
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

Json = dict[str, Any]


class Document:
    """A document, and its schemas ready to be asked."""

    def __init__(self, text: Json) -> None:
        self.text = text
        self._registry = Registry().with_resource("urn:document", DRAFT7.create_resource(text))
        self._validators: dict[str, Draft7Validator] = {}

    def __getitem__(self, section: str) -> Json:
        return self.text[section]

    def resolved(self, reference: Json) -> Any:
        assert set(reference) == {"$ref"}
        return self._registry.resolver("urn:document").lookup(reference["$ref"]).contents

    def validator(self, schema: Json) -> Draft7Validator:
        """Of a schema that is a reference into the document."""
        ref = schema["$ref"]
        if ref not in self._validators:
            whole = {"$ref": f"urn:document{ref}"}
            self._validators[ref] = Draft7Validator(whole, registry=self._registry)
        return self._validators[ref]

    def channel(self, address: str) -> str:
        """The name of the channel whose address, its parameters put in, is `address`."""
        found = [
            name
            for name, channel in self["channels"].items()
            if re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(channel["address"])), address)
        ]
        assert len(found) == 1, (address, found)
        return found[0]

    def kinds(self, channel: str, message: Any) -> list[str]:
        """The messages of a channel that `message` is valid as; of a right one, exactly one."""
        listed = self["channels"][channel]["messages"]
        return [
            name
            for name, reference in listed.items()
            if self.validator(self.resolved(reference)["payload"]).is_valid(message)
        ]
