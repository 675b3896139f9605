#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lepus_fuzz::entry::fuzz_table(data));
