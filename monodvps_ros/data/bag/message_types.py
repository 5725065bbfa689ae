# SPDX-License-Identifier: Apache-2.0
"""The types of messages: those that a recording defines, those of ROS, and this package's own."""

from collections.abc import Iterable
from functools import cache

from rosbags.interfaces import Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from monodvps_ros.data.bag.definitions import message_definition
from monodvps_ros.data.bag.parts import Channel

_IDL_SEPARATOR = "=" * 80 + "\n"


@cache
def standard_types() -> Typestore:
    """Return the types of the standard messages, as of ROS 2 Kilted, which nothing may be added to.

    There is one store for all recordings, because it takes long to compile what reads a type.
    """
    return get_typestore(Stores.ROS2_KILTED)


@cache
def written_types() -> Typestore:
    """Return the one store of all that is written: the standard types, and what `require_type` adds."""
    return get_typestore(Stores.ROS2_KILTED)


class RecordedTypes:
    """The types of a recording: the standard ones of ROS, and for all others those that it defines itself.

    A definition is read when a message of its type is, so that one that cannot be read concerns no other topic.
    """

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._channels = {channel.type_name: channel for channel in channels if channel.definition}
        self._stores: dict[str, Typestore] = {}

    def store(self, type_name: str) -> Typestore:
        """Return a store that has a type and all that it is made of.

        Raises:
            Exception: of rosbags: the definition cannot be read.
        """
        if type_name not in self._stores:
            known = standard_types()
            self._stores[type_name] = known if type_name in known.fielddefs else self._defined(type_name, known)
        return self._stores[type_name]

    def _defined(self, type_name: str, known: Typestore) -> Typestore:
        """Make a store of a type's own definition, and of standard types that it names and does not define."""
        types = self._definitions(type_name)
        wanted, seen = [type_name], set[str]()
        while wanted:
            name = wanted.pop()
            if name in seen:
                continue
            seen.add(name)
            if name not in types and name in known.fielddefs:
                types[name] = known.fielddefs[name]
            wanted += _parts(types, name) if name in types else []
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        return store

    def _definitions(self, type_name: str) -> Typesdict:
        channel = self._channels.get(type_name)
        if channel is None:
            return {}
        if channel.definition_format == "ros2msg":
            return dict(get_types_from_msg(channel.definition, type_name))
        types: Typesdict = {}
        for part in filter(str.strip, channel.definition.split(_IDL_SEPARATOR)):  # rosbag2 begins with a separator
            types.update(get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part))
        return types


def require_type(store: Typestore, type_name: str) -> None:
    """Make sure that a type and all that it is made of are known to a store.

    Args:
        store: is added to.
        type_name: such as ``sensor_msgs/msg/Image``.

    Raises:
        DataError: the definition is not found.
    """
    if type_name in store.fielddefs:
        return
    definition = get_types_from_msg(message_definition(type_name), type_name)
    for part in _parts(definition, type_name):
        require_type(store, part)
    store.register(definition)


def _parts(types: Typesdict, name: str) -> list[str]:
    """List the types of a message's fields that are messages themselves."""
    found = []
    for _, (kind, description) in types[name][1]:
        inner = description[0] if kind in {Nodetype.ARRAY, Nodetype.SEQUENCE} else (kind, description)
        if inner[0] == Nodetype.NAME:
            found.append(str(inner[1]))
    return found
