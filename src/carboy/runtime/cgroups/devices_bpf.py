"""Device rules as a BPF program for v2 (BPF_PROG_TYPE_CGROUP_DEVICE): a pure assembler.

r1 → struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }
     access_type = (access << 16) | type          type 1 = block, 2 = character

r2 = type    r3 = access    r4 = major    r5 = minor
for each exception:     if it matches: r0 = not default; exit
r0 = default; exit
"""

from __future__ import annotations

from carboy.runtime.cgroups.devices import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.cgroups.devices import DeviceState

LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
AND_IMM = 0x54  # BPF_ALU | BPF_AND | BPF_K
SHIFT_RIGHT_IMM = 0x74  # BPF_ALU | BPF_RSH | BPF_K
MOVE_REG = 0xBC  # BPF_ALU | BPF_MOV | BPF_X
MOVE_IMM = 0xB4  # BPF_ALU | BPF_MOV | BPF_K
JUMP_NOT_EQUAL_IMM = 0x55  # BPF_JMP | BPF_JNE | BPF_K
JUMP_EQUAL_IMM = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
EXIT = 0x95  # BPF_JMP | BPF_EXIT

TYPES = {"b": 1, "c": 2}


def instruction(
    code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0
) -> bytes:
    """One struct bpf_insn (little-endian bit fields, as on both architectures we know)."""
    return (
        bytes((code, destination | source << 4))
        + (offset & 0xFFFF).to_bytes(2, "little")
        + (immediate & 0xFFFFFFFF).to_bytes(4, "little")
    )


def assemble(state: DeviceState) -> bytes:
    """The program that answers as `state.permits` does."""
    program = [
        instruction(LOAD_WORD, 2, 1, 0),
        instruction(MOVE_REG, 3, 2),
        instruction(AND_IMM, 2, immediate=0xFFFF),
        instruction(SHIFT_RIGHT_IMM, 3, immediate=16),
        instruction(LOAD_WORD, 4, 1, 4),
        instruction(LOAD_WORD, 5, 1, 8),
    ]
    for (kind, major, minor), bits in state.exceptions.items():
        program += _exception(kind, major, minor, bits, allow=state.allow)
    program += [instruction(MOVE_IMM, 0, immediate=int(state.allow)), instruction(EXIT)]
    return b"".join(program)


def _exception(kind: str, major: int, minor: int, bits: int, *, allow: bool) -> list[bytes]:
    # (code, register, immediate) of jumps that leave the block; their offsets are known at the end.
    steps: list[bytes | tuple[int, int, int]] = [(JUMP_NOT_EQUAL_IMM, 2, TYPES[kind])]
    if major != ANY:
        steps.append((JUMP_NOT_EQUAL_IMM, 4, major))
    if minor != ANY:
        steps.append((JUMP_NOT_EQUAL_IMM, 5, minor))
    steps.append(instruction(MOVE_REG, 1, 3))
    if allow:
        steps.append(instruction(AND_IMM, 1, immediate=bits))
        steps.append((JUMP_EQUAL_IMM, 1, 0))
    else:
        steps.append(instruction(AND_IMM, 1, immediate=7 & ~bits))
        steps.append((JUMP_NOT_EQUAL_IMM, 1, 0))
    steps += [instruction(MOVE_IMM, 0, immediate=int(not allow)), instruction(EXIT)]
    block = []
    for index, step in enumerate(steps):
        if isinstance(step, tuple):
            code, register, immediate = step
            offset = len(steps) - index - 1
            block.append(instruction(code, register, offset=offset, immediate=immediate))
        else:
            block.append(step)
    return block
