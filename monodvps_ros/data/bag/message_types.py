# SPDX-License-Identifier: Apache-2.0
"""The types of messages: those that a recording defines, those of ROS, and this package's own."""

from collections.abc import Iterable

from rosbags.interfaces import Connection, MessageDefinitionFormat, Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from monodvps_ros.data.bag.definitions import message_definition

_IDL_SEPARATOR = "=" * 80 + "\n"


def known_types() -> Typestore:
    """Return the types of the standard messages, as of ROS 2 Kilted."""
    return get_typestore(Stores.ROS2_KILTED)


def recorded_types(connections: Iterable[Connection]) -> Typestore:
    """Make the types of a recording: those that it defines itself, and for all others those of a known distribution."""
    types: Typesdict = {}
    wanted = []
    for connection in connections:
        wanted.append(connection.msgtype)
        text = connection.msgdef.data
        if connection.msgdef.format == MessageDefinitionFormat.MSG:
            types.update(get_types_from_msg(text, connection.msgtype))
        elif connection.msgdef.format == MessageDefinitionFormat.IDL:
            for part in text.split(_IDL_SEPARATOR):
                types.update(get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part))
    known = known_types().fielddefs
    while wanted:
        name = wanted.pop()
        if name not in types and name in known:
            types[name] = known[name]
            wanted += _parts(types, name)
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


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
