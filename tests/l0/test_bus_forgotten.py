# SPDX-License-Identifier: GPL-2.0-only
"""What L2 had of devices is not of the state that a restore or a reset puts in its place."""

import pytest
from guest import CODE, VMCALL, Guest
from test_devices import RAX, far_page, with_bus
from world import World

LOAD, LOAD_NEXT, NEITHER = "8b03", "8b4308", "90"
SSE = 0x26A0


def restored(g, fresh):
    """It goes on as it was before."""
    g.cpu.restore(fresh)


def reset(g, fresh):
    """It begins anew, with the same VMCS again."""
    g.world.partition.reset()
    World.turn_on(g.world, g.cpu)
    if g.mode == "plain":
        g.world.plain(GUEST_CR4=SSE)
    else:
        g.world.enlighten(guest_cr4=SSE)


@pytest.mark.parametrize("back", [restored, reset])
@pytest.mark.parametrize("mode", ["plain", "evmcs"])
class TestForgotten:
    """A device has raised: L2 stands still, and nobody goes on with it."""

    @pytest.fixture
    def raised(self, mode, back):
        """raised(code, *answers): the guest after that, and its device, which has seen nothing."""
        def run(code, *answers):
            g, device, _ = with_bus(Guest(mode, code + VMCALL, GUEST_CR4=SSE),
                                    ValueError("mine"), *answers)
            page, fresh = far_page(g), g.cpu.save()
            g.regs(rbx=page)
            with pytest.raises(ValueError, match="mine"):
                g.cpu.vmlaunch()
            assert g.cpu.stopped
            back(g, fresh)
            assert not g.cpu.stopped
            g.launched = False
            g.regs(rbx=page, rax=0)
            device.seen.clear()
            return g, device
        return run

    def test_a_read_that_nobody_makes(self, raised):
        g, device = raised(LOAD, 6)
        assert g.run(code=NEITHER + VMCALL).reason == 18
        assert device.seen == [] and device.answers == [6]

    def test_an_answer_feeds_no_other_read(self, raised):
        g, device = raised(LOAD, 6, 7)
        assert g.run(code=NEITHER + VMCALL).reason == 18
        assert g.run(code=LOAD_NEXT + VMCALL).reason == 18
        assert device.seen == [(8, 4)] and g.regs()[RAX] == 6

    def test_an_answer_that_was_there(self, raised):
        """CMPSQ has one of its two, and raises at the other."""
        g, device = raised(LOAD, 6)
        g.cpu.restore(g.cpu.save())
        device.answers[:] = [5, ValueError("other"), 8]
        page = g.regs()[3]
        g.regs(rsi=page, rdi=page + 8)
        fresh = g.cpu.save()
        g.code("48a7" + VMCALL)
        with pytest.raises(ValueError, match="other"):
            g.cpu.vmlaunch()
        g.cpu.restore(fresh)
        device.seen.clear()
        assert g.run(code=LOAD + VMCALL).reason == 18
        assert device.seen == [(0, 4)] and g.regs()[RAX] == 8

    def test_an_event_comes_first(self, raised):
        """The boundary is looked at: an interrupt exits before the first instruction."""
        g, device = raised(LOAD, 6)
        assert g.run(code=NEITHER + VMCALL).reason == 18
        g.set(PIN_BASED_VM_EXEC_CONTROL=0x17)
        g.cpu.pending_interrupt = 0x41
        exit = g.run(code=LOAD + VMCALL)
        assert (exit.reason, exit.rip, device.seen) == (1, CODE, [])

    def test_what_was_still_to_be_written(self, raised):
        """MOVUPS writes twice, and the device raises at the first."""
        g, device = raised("0f1103")
        assert g.run(code=NEITHER + VMCALL).reason == 18
        assert device.seen == []
