# SPDX-License-Identifier: Apache-2.0
"""Calls of a managed node's lifecycle services by a test, which hold on a machine where DDS discovery is slow.

A service drops its answer where it has not found the caller's reader within 100 ms of the request
("failed to send response (timeout)"), so a first call may be carried out and never answered.
"""

import time

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

#: The state in which a transition that succeeds ends.
_REACHED = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: State.PRIMARY_STATE_FINALIZED,
}


class LifecycleCalls:
    """Asks for the state of a managed node and changes it.

    Args:
        peer: node that calls.
        name: of the managed node, as seen from the peer.
        spin: does the peer's work for a moment, or sleeps where another thread does it.
        patience_s: how long an answer is waited for before it counts as lost; a node that is being configured
            answers when it is done.
    """

    def __init__(self, peer, name, spin, patience_s=20.0):
        self._changer = peer.create_client(ChangeState, f"{name}/change_state")
        self._asker = peer.create_client(GetState, f"{name}/get_state")
        self._spin, self._patience_s = spin, patience_s

    def state(self, timeout_s=120.0):
        """Return the id of the node's state."""
        end = time.monotonic() + timeout_s
        while (answer := self._call(self._asker, GetState.Request(), self._patience_s)) is None:
            assert time.monotonic() < end, f"{self._asker.srv_name} never answered"
        return answer.current_state.id

    def change(self, transition, timeout_s=120.0):
        """Return whether the node went through a transition."""
        end, request = time.monotonic() + timeout_s, ChangeState.Request(transition=Transition(id=transition))
        while (answer := self._call(self._changer, request, self._patience_s)) is None:
            if self.state() == _REACHED[transition]:
                return True
            assert time.monotonic() < end, f"{self._changer.srv_name} never answered to {transition}"
        return answer.success

    def _call(self, client, request, timeout_s):
        """Return the answer, None where none came."""
        self._wait_until(client.service_is_ready, 60.0, f"{client.srv_name} is not there")
        future = client.call_async(request)
        end = time.monotonic() + timeout_s
        while not future.done() and time.monotonic() < end:
            self._spin()
        if not future.done():
            client.remove_pending_request(future)
            return None
        return future.result()

    def _wait_until(self, condition, timeout_s, words):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, words
            self._spin()
