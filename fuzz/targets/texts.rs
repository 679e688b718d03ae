//! Bytes as positions, receipts, page tokens, names and subjects.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| event_store_svc::fuzzing::texts(data));
