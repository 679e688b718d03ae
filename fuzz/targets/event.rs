//! Bytes as an encoded event.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| event_store_svc::fuzzing::event(data));
