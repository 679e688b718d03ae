//! `messagequeue.v1` as clients see it: the real service, a Redis of its own, the client stubs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has to fail")]

mod admin;
mod bad_input;
mod calls;
mod consuming;
mod credit;
mod dead_letters;
mod faults;
mod idle;
mod leases;
mod model;
mod ordering;
mod poison;
mod rights;
mod sending;
mod support;
mod vanishing;
