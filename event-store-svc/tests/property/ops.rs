//! What the property test does to a topic, drawn at random.

use proptest::prelude::*;

/// One step. Numbers that stand for something that must exist are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Op {
    /// Events: an id out of a few (0 none), a subject out of three (0 none), some content.
    Append {
        events: Vec<(u8, u8, u8)>,
        expectations: Vec<(u8, Expect)>,
    },
    /// The same append as so many appends ago.
    Repeat {
        back: u8,
    },
    Read {
        subject: u8,
        backward: bool,
        start: At,
        end: Option<u8>,
        limit: Option<u8>,
        types: u8,
    },
    Truncate {
        before: u8,
    },
    SaveSnapshot {
        subject: u8,
        revision: u8,
    },
    LoadSubject {
        subject: u8,
    },
    DeleteSnapshot {
        subject: u8,
    },
    Fetch {
        group: bool,
        events: u8,
    },
    Settle {
        group: bool,
        which: u8,
        how: How,
    },
    /// Settles again what was settled before.
    SettleAgain {
        group: bool,
        which: u8,
    },
    Replay {
        group: bool,
        events: u8,
    },
    Reset {
        group: bool,
        sequence: Option<u8>,
    },
    Check {
        group: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Expect {
    Revision(u8),
    NoEvents,
    Exists,
}

#[derive(Clone, Copy, Debug)]
pub enum At {
    Absent,
    Beginning,
    End,
    After(u8),
    Sequence(u8),
    Revision(u8),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    Ack,
    Retry,
    Park,
    Skip,
    Extend,
}

fn start() -> impl Strategy<Value = At> {
    prop_oneof![
        Just(At::Absent),
        Just(At::Beginning),
        Just(At::End),
        any::<u8>().prop_map(At::After),
        any::<u8>().prop_map(At::Sequence),
        (0..6u8).prop_map(At::Revision),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        4 => Just(How::Ack), 2 => Just(How::Retry), 1 => Just(How::Park), 1 => Just(How::Skip),
        1 => Just(How::Extend),
    ]
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![(0..4u8).prop_map(Expect::Revision), Just(Expect::NoEvents), Just(Expect::Exists)]
}

fn op() -> impl Strategy<Value = Op> {
    let events = prop::collection::vec((0..12u8, 0..4u8, 0..2u8), 1..5);
    let expectations = prop::collection::vec((1..4u8, expect()), 0..2);
    let read = (
        0..4u8,
        any::<bool>(),
        start(),
        prop::option::of(any::<u8>()),
        prop::option::of(1..5u8),
        0..3u8,
    );
    prop_oneof![
        8 => (events, expectations).prop_map(|(events, expectations)| Op::Append { events, expectations }),
        2 => (0..4u8).prop_map(|back| Op::Repeat { back }),
        6 => read.prop_map(|(subject, backward, start, end, limit, types)| Op::Read { subject, backward, start, end, limit, types }),
        1 => any::<u8>().prop_map(|before| Op::Truncate { before }),
        2 => (1..4u8, 0..6u8).prop_map(|(subject, revision)| Op::SaveSnapshot { subject, revision }),
        2 => (1..4u8).prop_map(|subject| Op::LoadSubject { subject }),
        1 => (1..4u8).prop_map(|subject| Op::DeleteSnapshot { subject }),
        6 => (any::<bool>(), 1..5u8).prop_map(|(group, events)| Op::Fetch { group, events }),
        8 => (any::<bool>(), any::<u8>(), how()).prop_map(|(group, which, how)| Op::Settle { group, which, how }),
        2 => (any::<bool>(), any::<u8>()).prop_map(|(group, which)| Op::SettleAgain { group, which }),
        1 => (any::<bool>(), 1..3u8).prop_map(|(group, events)| Op::Replay { group, events }),
        1 => (any::<bool>(), prop::option::of(any::<u8>())).prop_map(|(group, sequence)| Op::Reset { group, sequence }),
        2 => any::<bool>().prop_map(|group| Op::Check { group }),
    ]
}

/// A history.
pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..60)
}
