//! Bytes as what Redis answers for entries of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| event_store_svc::fuzzing::entry_target(data));
