//! The process: arguments, configuration, runtime, exit code.

fn main() {}
