//! Bad requests to `Topics`.

use super::*;

pub fn cases() -> Vec<Method> {
    let mut create = Method::new("Topics/CreateTopic");
    create.name("topic", 1, |topic| CreateTopicRequest { topic, settings: None });
    settings(&mut create, |settings| CreateTopicRequest { topic: t(), settings: Some(settings) });

    let mut update = Method::new("Topics/UpdateTopic");
    let some = || Some(TopicSettings::default());
    update.name("topic", 1, |topic| UpdateTopicRequest { topic, settings: some() });
    update.bad("settings", WRONG, UpdateTopicRequest { topic: t(), settings: None });
    settings(&mut update, |settings| UpdateTopicRequest { topic: t(), settings: Some(settings) });

    let mut get = Method::new("Topics/GetTopic");
    get.name("topic", 1, |topic| GetTopicRequest { topic });
    let mut list = Method::new("Topics/ListTopics");
    list.page(2, |page_size, page_token| ListTopicsRequest { page_size, page_token });

    let mut truncate = Method::new("Topics/TruncateTopic");
    let before = |before| TruncateTopicRequest { topic: t(), before: Some(before) };
    truncate.name("topic", 1, |topic| TruncateTopicRequest {
        topic,
        before: Some(Before::BeforePosition("1-0".into())),
    });
    truncate.bad("before", WRONG, TruncateTopicRequest { topic: t(), before: None });
    truncate.position("before_position", |text| before(Before::BeforePosition(text)));
    truncate.time("before_time", |time| before(Before::BeforeTime(time)));

    let mut delete = Method::new("Topics/DeleteTopic");
    delete.name("topic", 1, |topic| DeleteTopicRequest { topic });
    let mut subjects = Method::new("Topics/ListSubjects");
    subjects.name("topic", 1, |topic| ListSubjectsRequest { topic, ..Default::default() });
    subjects.page(3, |page_size, page_token| ListSubjectsRequest {
        topic: t(),
        page_size,
        page_token,
    });
    // It can be read, and is no cursor.
    let token = ListSubjectsRequest { topic: t(), page_token: "YQ".into(), ..Default::default() };
    subjects.bad("page_token", WRONG, token);
    vec![create, update, get, list, truncate, delete, subjects]
}

fn settings<M: Message>(method: &mut Method, request: impl Fn(TopicSettings) -> M) {
    let retention =
        |retention| request(TopicSettings { retention: Some(retention), ..Default::default() });
    method.bad(
        "settings.retention.max_events",
        WRONG,
        retention(Retention { max_events: Some(0), ..Default::default() }),
    );
    method.bad(
        "settings.retention.max_bytes",
        WRONG,
        retention(Retention { max_bytes: Some(0), ..Default::default() }),
    );
    method.duration("settings.retention.max_age", &[(0, 0), (0, 999_999_999)], |max_age| {
        retention(Retention { max_age, ..Default::default() })
    });
    method.duration("settings.dedup_window", &[(24 * 3_600, 1)], |dedup_window| {
        request(TopicSettings { dedup_window, ..Default::default() })
    });
}
