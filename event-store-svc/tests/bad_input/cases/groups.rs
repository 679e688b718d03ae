//! Bad requests to `ConsumerGroups`.

use super::*;

const HOURS_12: (i64, i32) = (12 * 3_600, 1);
const SHORT: (i64, i32) = (0, 999_999_999);

pub fn cases() -> Vec<Method> {
    let mut create = Method::new("ConsumerGroups/CreateGroup");
    let new = || CreateGroupRequest { topic: t(), group: "new".into(), settings: None };
    create.name("topic", 1, |topic| CreateGroupRequest { topic, ..new() });
    create.name("group", 2, |group| CreateGroupRequest { group, ..new() });
    let with = |settings| CreateGroupRequest { settings: Some(settings), ..new() };
    settings(&mut create, with);
    create.start("settings.start", false, |start| {
        with(GroupSettings { start: Some(start), ..Default::default() })
    });

    let mut update = Method::new("ConsumerGroups/UpdateGroup");
    let some = || Some(GroupSettings::default());
    let change = || UpdateGroupRequest { topic: t(), group: g(), settings: some() };
    update.name("topic", 1, |topic| UpdateGroupRequest { topic, ..change() });
    update.name("group", 2, |group| UpdateGroupRequest { group, ..change() });
    update.bad("settings", WRONG, UpdateGroupRequest { settings: None, ..change() });
    let with = |settings| UpdateGroupRequest { settings: Some(settings), ..change() };
    settings(&mut update, with);
    let start = Some(Start { at: Some(At::Beginning(())) });
    update.bad("settings.start", WRONG, with(GroupSettings { start, ..Default::default() }));

    let mut get = Method::new("ConsumerGroups/GetGroup");
    get.name("topic", 1, |topic| GetGroupRequest { topic, group: g() });
    get.name("group", 2, |group| GetGroupRequest { topic: t(), group });
    let mut list = Method::new("ConsumerGroups/ListGroups");
    list.name("topic", 1, |topic| ListGroupsRequest { topic, ..Default::default() });
    list.page(3, |page_size, page_token| ListGroupsRequest { topic: t(), page_size, page_token });
    let mut delete = Method::new("ConsumerGroups/DeleteGroup");
    delete.name("topic", 1, |topic| DeleteGroupRequest { topic, group: g() });
    delete.name("group", 2, |group| DeleteGroupRequest { topic: t(), group });
    let mut reset = Method::new("ConsumerGroups/ResetGroup");
    let back = || ResetGroupRequest { topic: t(), group: g(), start: None };
    reset.name("topic", 1, |topic| ResetGroupRequest { topic, ..back() });
    reset.name("group", 2, |group| ResetGroupRequest { group, ..back() });
    reset.start("start", false, |start| ResetGroupRequest { start: Some(start), ..back() });

    let mut fetch = Method::new("ConsumerGroups/Fetch");
    let one =
        || FetchRequest { topic: t(), group: g(), consumer: "c".into(), ..Default::default() };
    fetch.name("topic", 1, |topic| FetchRequest { topic, ..one() });
    fetch.name("group", 2, |group| FetchRequest { group, ..one() });
    fetch.name("consumer", 3, |consumer| FetchRequest { consumer, ..one() });
    fetch.number("max_events", 1_000, |max_events| FetchRequest { max_events, ..one() });
    fetch.duration("wait", &[(20, 1)], |wait| FetchRequest { wait, ..one() });

    let mut consume = Method::new("ConsumerGroups/Consume");
    let open = || ConsumeOpen { topic: t(), group: g(), consumer: "c".into(), max_in_flight: None };
    let say = |open| ConsumeRequest { message: Some(Say::Open(open)) };
    // What cannot be read is named by its place in the message.
    for (name, tag) in [("topic", 1), ("group", 2), ("consumer", 3)] {
        for text in ["", "Upper", "a\nb", &"a".repeat(129)] {
            let mut bad = open();
            *[&mut bad.topic, &mut bad.group, &mut bad.consumer][usize::from(tag) - 1] =
                text.into();
            consume.bad(&format!("open.{name}"), NAME, say(bad));
        }
        consume.raw(&format!("message.{name}"), WRONG, field(1, &field(tag, NOT_UTF8)));
    }
    consume.number("open.max_in_flight", 10_000, |max_in_flight| {
        say(ConsumeOpen { max_in_flight, ..open() })
    });
    consume.bad("open", WRONG, ConsumeRequest { message: None });
    let ack = ConsumeAck { receipts: vec!["r".into()] };
    consume.bad("open", WRONG, ConsumeRequest { message: Some(Say::Ack(ack)) });

    let mut methods = vec![create, update, get, list, delete, reset, fetch, consume];
    methods.extend(settling());
    methods.extend(parked());
    methods
}

fn settings<M: Message>(method: &mut Method, request: impl Fn(GroupSettings) -> M) {
    let default = GroupSettings::default;
    method.duration("settings.ack_timeout", &[(0, 0), SHORT, HOURS_12], |ack_timeout| {
        request(GroupSettings { ack_timeout, ..default() })
    });
    method.number("settings.max_deliveries", 1_000, |max_deliveries| {
        request(GroupSettings { max_deliveries, ..default() })
    });
    method.number("settings.max_in_flight", 10_000, |max_in_flight| {
        request(GroupSettings { max_in_flight, ..default() })
    });
    method.kind("settings.ordering", |ordering| request(GroupSettings { ordering, ..default() }));
    let backoff = |backoff| request(GroupSettings { retry_backoff: Some(backoff), ..default() });
    method.duration("settings.retry_backoff.initial", &[HOURS_12], |initial| {
        backoff(Backoff { initial, ..Default::default() })
    });
    method.duration("settings.retry_backoff.max", &[HOURS_12], |max| {
        backoff(Backoff { max, ..Default::default() })
    });
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    let less = Backoff { initial: seconds(2), max: seconds(1), multiplier: None };
    method.bad("settings.retry_backoff.max", WRONG, backoff(less));
    for growth in [0.0, 0.99, -1.0, 10.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let multiplier = Some(growth);
        let bad = backoff(Backoff { multiplier, ..Default::default() });
        method.bad("settings.retry_backoff.multiplier", WRONG, bad);
    }
}

fn settling() -> Vec<Method> {
    let one = || vec!["r".to_owned()];
    let lists = [(WRONG, Vec::new()), (MANY, vec!["r".to_owned(); 1_001])];
    let mut ack = Method::new("ConsumerGroups/Ack");
    ack.name("topic", 1, |topic| AckRequest { topic, group: g(), receipts: one() });
    ack.name("group", 2, |group| AckRequest { topic: t(), group, receipts: one() });
    ack.not_utf8("receipts", 3, &AckRequest { topic: t(), group: g(), receipts: one() });

    let mut nack = Method::new("ConsumerGroups/Nack");
    let no = || NackRequest { topic: t(), group: g(), receipts: one(), ..Default::default() };
    nack.name("topic", 1, |topic| NackRequest { topic, ..no() });
    nack.name("group", 2, |group| NackRequest { group, ..no() });
    nack.not_utf8("receipts", 3, &no());
    nack.kind("action", |action| NackRequest { action, ..no() });
    nack.duration("delay", &[HOURS_12], |delay| NackRequest { delay, ..no() });
    for action in [NackAction::Park, NackAction::Skip] {
        let delay = Some(Duration { seconds: 1, nanos: 0 });
        nack.bad("delay", WRONG, NackRequest { action: action.into(), delay, ..no() });
    }
    nack.bad("reason", WRONG, NackRequest { reason: "a".repeat(1_025), ..no() });
    nack.not_utf8("reason", 6, &no());

    let mut extend = Method::new("ConsumerGroups/Extend");
    let more = || ExtendRequest { topic: t(), group: g(), receipts: one(), by: None };
    extend.name("topic", 1, |topic| ExtendRequest { topic, ..more() });
    extend.name("group", 2, |group| ExtendRequest { group, ..more() });
    extend.not_utf8("receipts", 3, &more());
    extend.duration("by", &[(0, 0), SHORT, HOURS_12], |by| ExtendRequest { by, ..more() });
    for (reason, receipts) in lists {
        let list = receipts.clone();
        ack.bad("receipts", reason, AckRequest { topic: t(), group: g(), receipts: list });
        nack.bad("receipts", reason, NackRequest { receipts: receipts.clone(), ..no() });
        extend.bad("receipts", reason, ExtendRequest { receipts, ..more() });
    }
    vec![ack, nack, extend]
}

fn parked() -> Vec<Method> {
    let mut list = Method::new("ConsumerGroups/ListParked");
    let all = || ListParkedRequest { topic: t(), group: g(), ..Default::default() };
    list.name("topic", 1, |topic| ListParkedRequest { topic, ..all() });
    list.name("group", 2, |group| ListParkedRequest { group, ..all() });
    list.page(4, |page_size, page_token| ListParkedRequest { page_size, page_token, ..all() });

    // It can be read, and is no place.
    list.bad("page_token", WRONG, ListParkedRequest { page_token: "YQ".into(), ..all() });

    let mut replay = Method::new("ConsumerGroups/ReplayParked");
    let some =
        || ReplayParkedRequest { topic: t(), group: g(), limit: Some(1), receipts: Vec::new() };
    replay.name("topic", 1, |topic| ReplayParkedRequest { topic, ..some() });
    replay.name("group", 2, |group| ReplayParkedRequest { group, ..some() });
    replay.number("limit", 1_000, |limit| ReplayParkedRequest { limit, ..some() });
    replay.bad("limit", WRONG, ReplayParkedRequest { limit: None, ..some() });
    let receipts = vec!["r".to_owned()];
    replay.bad("limit", WRONG, ReplayParkedRequest { receipts: receipts.clone(), ..some() });
    replay.bad("receipts", WRONG, ReplayParkedRequest { limit: None, receipts, ..some() });
    let receipts = vec!["r".to_owned(); 1_001];
    replay.bad("receipts", MANY, ReplayParkedRequest { limit: None, receipts, ..some() });

    let mut discard = Method::new("ConsumerGroups/DiscardParked");
    let some =
        || DiscardParkedRequest { topic: t(), group: g(), limit: Some(1), receipts: Vec::new() };
    discard.name("topic", 1, |topic| DiscardParkedRequest { topic, ..some() });
    discard.name("group", 2, |group| DiscardParkedRequest { group, ..some() });
    discard.number("limit", 1_000, |limit| DiscardParkedRequest { limit, ..some() });
    discard.bad("limit", WRONG, DiscardParkedRequest { limit: None, ..some() });
    let receipts = vec!["é".to_owned()];
    discard.bad("receipts", WRONG, DiscardParkedRequest { limit: None, receipts, ..some() });
    vec![list, replay, discard]
}

pub fn of_consume() -> Vec<Case> {
    let open = ConsumeOpen { topic: t(), group: g(), consumer: "c".into(), max_in_flight: None };
    let mut consume = Method::new("ConsumerGroups/Consume");
    let open = ConsumeRequest { message: Some(Say::Open(open)) };
    consume.before = vec![open.encode_to_vec().into()];
    let say = |message| ConsumeRequest { message: Some(message) };
    consume.bad("open", WRONG, open);
    consume.bad("message", WRONG, ConsumeRequest { message: None });
    let one = || vec!["r".to_owned()];
    for (reason, receipts) in [(WRONG, Vec::new()), (MANY, vec!["r".to_owned(); 1_001])] {
        let (a, b) = (receipts.clone(), receipts.clone());
        consume.bad("ack.receipts", reason, say(Say::Ack(ConsumeAck { receipts: a })));
        let nack = ConsumeNack { receipts: b, ..Default::default() };
        consume.bad("nack.receipts", reason, say(Say::Nack(nack)));
        consume.bad(
            "extend.receipts",
            reason,
            say(Say::Extend(ConsumeExtend { receipts, by: None })),
        );
    }
    let no = || ConsumeNack { receipts: one(), ..Default::default() };
    consume.kind("nack.action", |action| say(Say::Nack(ConsumeNack { action, ..no() })));
    consume
        .duration("nack.delay", &[HOURS_12], |delay| say(Say::Nack(ConsumeNack { delay, ..no() })));
    let reason = "a".repeat(1_025);
    consume.bad("nack.reason", WRONG, say(Say::Nack(ConsumeNack { reason, ..no() })));
    consume.duration("extend.by", &[(0, 0), SHORT, HOURS_12], |by| {
        say(Say::Extend(ConsumeExtend { receipts: one(), by }))
    });
    for (tag, kind) in [(2, "receipts"), (3, "receipts"), (4, "receipts")] {
        consume.raw(&format!("message.{kind}"), WRONG, field(tag, &field(1, NOT_UTF8)));
    }
    consume.raw("message.reason", WRONG, field(3, &field(4, NOT_UTF8)));
    consume.cases
}
