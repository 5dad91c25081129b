//! The code of the test enclave. It never runs where it is assembled: its bytes are copied into a page.
//!
//! Entry: RAX = CSSA, RBX = TCS, RCX = where EEXIT goes, RDI = command, RSI, RDX, R8 = operands.
//! R9 = base + 0x1000 all along, R11 = where EEXIT goes.

use std::arch::global_asm;

/// What the enclave is asked to do.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Command {
    /// RSI + 1 in RSI, the first 8 bytes of the thread data in RDX, CSSA in R8.
    Echo = 0,
    /// KEYREQUEST at RSI, key to RDX; RAX in RDI, ZF in RSI.
    GetKey = 1,
    /// TARGETINFO and REPORTDATA at RSI, REPORT to RDX.
    Report = 2,
    /// UD2 with known registers; when it is resumed after that, they come back (see the test).
    Undefined = 3,
    /// Reads 8 bytes at RSI.
    Read = 4,
    /// Writes 8 bytes at RSI.
    Write = 5,
    /// Divides by zero.
    Divide = 6,
    /// Pushes until the stack is used up.
    Overflow = 7,
    /// SYSCALL with the number RSI; its result in RSI.
    Syscall = 8,
    /// On the enclave's own stack: waits until the byte at RSI is set.
    Wait = 9,
    /// INT3.
    Breakpoint = 10,
    /// HLT.
    Privileged = 11,
    /// Jumps to RSI.
    Jump = 12,
    /// ENCLU with RAX = RSI, RBX = RDX, RCX = R8, RDX = a place for a REPORT.
    Leaf = 13,
    /// With CSSA 1: adds RSI to the RIP of the last frame; EXITINFO in RDX, RIP - base in R8, EXINFO in RDI.
    Fix = 14,
}

unsafe extern "C" {
    static softsgx_test_program: u8;
    static softsgx_test_program_end: u8;
}

/// The bytes.
pub fn program() -> &'static [u8] {
    let start = &raw const softsgx_test_program;
    let end = &raw const softsgx_test_program_end;
    // SAFETY: both labels are in the one block below, in this order, in memory that is never written.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

global_asm!(
    ".section .rodata.softsgx_test, \"a\", @progbits",
    ".p2align 4",
    ".globl softsgx_test_program",
    "softsgx_test_program:",
    "lea r9, [rip + softsgx_test_program]",
    "mov r11, rcx",
    "cmp rdi, 14",
    "je 114f",
    "cmp rdi, 0",
    "je 100f",
    "cmp rdi, 1",
    "je 101f",
    "cmp rdi, 2",
    "je 102f",
    "cmp rdi, 3",
    "je 103f",
    "cmp rdi, 4",
    "je 104f",
    "cmp rdi, 5",
    "je 105f",
    "cmp rdi, 6",
    "je 106f",
    "cmp rdi, 7",
    "je 107f",
    "cmp rdi, 8",
    "je 108f",
    "cmp rdi, 9",
    "je 109f",
    "cmp rdi, 10",
    "je 110f",
    "cmp rdi, 11",
    "je 111f",
    "cmp rdi, 12",
    "je 112f",
    "cmp rdi, 13",
    "je 113f",
    "ud2",
    // Echo
    "100:",
    "inc rsi",
    "mov rdx, gs:[0]",
    "mov r8, rax",
    "jmp 99f",
    // GetKey
    "101:",
    "mov r8, rdx",
    "lea rdi, [r9 + 0x1000]",
    "mov ecx, 512",
    "rep movsb",
    "pxor xmm0, xmm0",
    "movdqu [r9 + 0x1800], xmm0",
    "lea rbx, [r9 + 0x1000]",
    "lea rcx, [r9 + 0x1800]",
    "mov eax, 1",
    "enclu",
    "setz sil",
    "movzx esi, sil",
    "mov rdi, rax",
    "movdqu xmm0, [r9 + 0x1800]",
    "movdqu [r8], xmm0",
    "jmp 99f",
    // Report
    "102:",
    "mov r8, rdx",
    "lea rdi, [r9 + 0x1000]",
    "mov ecx, 576",
    "rep movsb",
    "lea rbx, [r9 + 0x1000]",
    "lea rcx, [r9 + 0x1200]",
    "lea rdx, [r9 + 0x1400]",
    "mov eax, 0",
    "enclu",
    "lea rsi, [r9 + 0x1400]",
    "mov rdi, r8",
    "mov ecx, 432",
    "rep movsb",
    "jmp 99f",
    // Undefined
    "103:",
    "mov r12, 0x1212",
    "mov r13, 0x1313",
    "mov rdx, 0x2222",
    "movq xmm5, rsi",
    "stc",
    "ud2",
    "setc dil",
    "movzx edi, dil",
    "movq rsi, xmm5",
    "mov r8, gs:[0]",
    "add rdx, r12",
    "add rdx, r13",
    "jmp 99f",
    // Read, Write
    "104:",
    "mov rdx, [rsi]",
    "jmp 99f",
    "105:",
    "mov [rsi], rdx",
    "jmp 99f",
    // Divide
    "106:",
    "xor ecx, ecx",
    "xor edx, edx",
    "div rcx",
    // Overflow
    "107:",
    "lea rsp, [r9 + 0x4000]",
    "97:",
    "push rax",
    "jmp 97b",
    // Syscall
    "108:",
    "mov rax, rsi",
    "mov r10, r11",
    "syscall",
    "mov r11, r10",
    "mov rsi, rax",
    "jmp 99f",
    // Wait
    "109:",
    "mov r10, rsp",
    "lea rsp, [r9 + 0x4000]",
    "98:",
    "pause",
    "cmp byte ptr [rsi], 0",
    "je 98b",
    "mov rsp, r10",
    "jmp 99f",
    // Breakpoint, Privileged, Jump
    "110:",
    "int3",
    "111:",
    "hlt",
    "112:",
    "jmp rsi",
    // Leaf
    "113:",
    "mov rax, rsi",
    "mov rbx, rdx",
    "mov rcx, r8",
    "lea rdx, [r9 + 0x1400]",
    "enclu",
    "jmp 99f",
    // Fix: the frame is the page behind the TCS, GPRSGX its last 184 bytes, EXINFO 16 bytes before.
    "114:",
    "mov rdi, [rbx + 0x2000 - 184 - 16]",
    "mov edx, [rbx + 0x2000 - 184 + 160]",
    "mov r8, [rbx + 0x2000 - 184 + 136]",
    "add [rbx + 0x2000 - 184 + 136], rsi",
    "sub r8, r9",
    "add r8, 0x1000",
    // EEXIT
    "99:",
    "mov rbx, r11",
    "mov eax, 4",
    "enclu",
    ".globl softsgx_test_program_end",
    "softsgx_test_program_end:",
    ".text",
);
