# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong with a machine itself, and what the kernel in it refuses."""

import abc
import os
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from kvm_vmx.machine.kernel import Kernel


class MachineError(RuntimeError):
    """The machine is not in the state that this needs; the text says what to do."""


class KernelBug(MachineError):
    """The L1 kernel hit a BUG: its log is in the text, and the machine can only be closed."""


class BuildError(RuntimeError):
    """A kernel tree cannot be built; the text says what is missing."""


class Shown:
    """What says in its repr what it is and in which state, or why it has none; never raises."""

    __slots__ = ()

    def _what(self) -> str:
        return type(self).__name__

    @abc.abstractmethod
    def _state(self) -> str:
        """A few words; MachineError where it is gone."""

    def __repr__(self) -> str:
        try:
            return f"<{self._what()}, {self._state()}>"
        except (MachineError, IndexError) as error:     # it is gone, or its memory is
            return f"<{self._what()}, {str(error).partition(':')[0]}>"
        except AttributeError:
            # a debugger looks at it while it is made
            return f"<{type(self).__name__}, half made>"


class Unique(Shown):
    """What stands for something of the kernel's: there is one of it, which no copy can share."""

    __slots__ = ()

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is neither copied nor pickled: use this one, "
                        "or boot another Machine in another process")


def counted(number: int, what: str) -> str:
    """A number of things, in words."""
    return f"{number} {what}{'s'[:number != 1]}"


def kernel_error(ret: int, what: str, kernel: "Kernel") -> OSError:
    """The exception for a negative errno of the kernel, with its last words in that call."""
    text = f"{what}: {os.strerror(-ret)}"
    if said := kernel.last_words():
        text += f" (kernel: {said[-1]})"
    return OSError(-ret, text)
