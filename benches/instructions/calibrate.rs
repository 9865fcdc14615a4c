//! Does a nanosecond of CPU time stand for an instruction? A loop of a known number of instructions says so, and how
//! many a system call has shows that the kernel's part is counted. Built by `run`, with rustc alone.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the loop is written for x86-64 Linux");

use std::arch::asm;
use std::process::ExitCode;

/// Turns of the loop; each is two instructions.
const TURNS: u64 = 50_000_000;

/// How far the clock may be off: what reading it costs, and a few hundred interrupts.
const TOLERANCE: f64 = 0.002;

const CALLS: u64 = 10_000;
const GETPPID: u64 = 110;
const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;

fn main() -> ExitCode {
    let begun = cpu_nanoseconds();
    turn(TURNS);
    let loops = cpu_nanoseconds() - begun;
    let begun = cpu_nanoseconds();
    for _ in 0..CALLS {
        getppid();
    }
    let call = (cpu_nanoseconds() - begun) as f64 / CALLS as f64;
    let ratio = loops as f64 / (2 * TURNS) as f64;
    println!("calibrate: {} instructions took {loops} ns of CPU time ({ratio:.5}), a getppid {call:.0}", 2 * TURNS);
    if (ratio - 1.0).abs() > TOLERANCE {
        eprintln!("calibrate: a nanosecond is no instruction here");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Two instructions a turn.
fn turn(turns: u64) {
    // SAFETY: one register is changed, which the compiler is told; memory and stack are not touched.
    unsafe { asm!("2:", "dec {0}", "jnz 2b", inout(reg) turns => _, options(nomem, nostack)) };
}

/// A system call that does next to nothing.
fn getppid() {
    // SAFETY: takes no arguments, changes nothing but the registers named.
    unsafe { asm!("syscall", inout("rax") GETPPID => _, out("rcx") _, out("r11") _, options(nostack)) };
}

fn cpu_nanoseconds() -> u64 {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0; 2];
    // SAFETY: a timespec on x86-64 is two 64-bit integers, which is what `time` has room for.
    let result = unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert!(result == 0, "the clock of this process can be read");
    time[0] as u64 * 1_000_000_000 + time[1] as u64
}
