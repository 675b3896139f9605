#![no_main]

libfuzzer_sys::fuzz_target!(|steps: lepus_fuzz::session::Steps| lepus_fuzz::session::run(&steps));
