//! Rules: what they allow, and how a file that is none is answered.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

const FILE: &str = r#"
    [[rule]]
    callers = ["billing", "shop-*"]
    rights = ["append", "read"]
    topics = ["order", "shop.*", "shop.cart.*"]

    [[rule]]
    callers = ["shop-admin"]
    rights = ["administer"]
    topics = ["*"]
    queues = ["mail"]

    [[rule]]
    callers = ["*"]
    rights = ["send"]
    queues = ["mail", "inbox-*"]
"#;

fn topic(name: &str) -> Resource<'_> {
    Resource::Topic(name)
}

fn queue(name: &str) -> Resource<'_> {
    Resource::Queue(name)
}

#[test]
fn names_and_beginnings_of_names_are_allowed_and_nothing_else() {
    let rules = Rules::parse(FILE).unwrap();
    let allowed = [
        ("billing", Right::Append, topic("order")),
        ("billing", Right::Read, topic("shop.cart.old")),
        ("billing", Right::Read, topic("shop.x")),
        ("billing", Right::Send, queue("mail")),
        ("shop-1", Right::Append, topic("order")),
        ("shop-admin", Right::Append, topic("order")),
        ("shop-admin", Right::Administer, topic("anything")),
        ("shop-admin", Right::Administer, queue("mail")),
        ("shop-admin", Right::Send, queue("inbox-7")),
        ("ünknown", Right::Send, queue("mail")),
    ];
    for (caller, right, resource) in allowed {
        assert!(rules.allows(caller, right, resource), "{caller} {right} {resource:?}");
    }
    let refused = [
        ("billing", Right::Append, topic("orders")),
        ("billing", Right::Append, topic("shop")),
        ("billing", Right::Append, topic("a")),
        ("billing", Right::Append, queue("order")),
        ("billing", Right::Consume, topic("order")),
        ("billing2", Right::Append, topic("order")),
        ("shop", Right::Append, topic("order")),
        ("shop-1", Right::Administer, topic("order")),
        ("shop-admin", Right::Administer, queue("mails")),
        ("other", Right::Read, topic("order")),
        ("", Right::Append, topic("order")),
    ];
    for (caller, right, resource) in refused {
        assert!(!rules.allows(caller, right, resource), "{caller} {right} {resource:?}");
    }
    assert!(rules.allows_any("billing", topic("shop.x")));
    assert!(!rules.allows_any("billing", topic("stock")));
}

#[test]
fn agrees_with_looking_at_every_rule_in_turn() {
    let patterns = ["a", "ab", "a*", "ab*", "abc*", "b*", "ba", "*", "é*"];
    let names = ["a", "ab", "abc", "abcd", "b", "ba", "bb", "é", "éa", "c"];
    for callers in patterns {
        for first in patterns {
            for second in patterns {
                let text = format!(
                    "[[rule]]\ncallers = [\"{callers}\", \"abc\"]\nrights = [\"read\"]\n\
                     topics = [\"{first}\"]\n[[rule]]\ncallers = [\"ab*\"]\n\
                     rights = [\"read\"]\ntopics = [\"{second}\"]"
                );
                let rules = Rules::parse(&text).unwrap();
                let fits = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
                    Some(beginning) => name.starts_with(beginning),
                    None => name == pattern,
                };
                for caller in names {
                    for name in names {
                        let one = (fits(callers, caller) || caller == "abc") && fits(first, name);
                        let two = fits("ab*", caller) && fits(second, name);
                        let got = rules.allows(caller, Right::Read, topic(name));
                        assert_eq!(got, one || two, "{text}: {caller} {name}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    let wrong = |text: &str| Rules::parse(text).unwrap_err();
    let rule = "[[rule]]\ncallers = [\"a\"]\n";
    let error = wrong(&format!("{rule}rights = [\"write\"]\ntopics = [\"t\"]"));
    assert!(error.contains("line 3") && error.contains("write"), "{error}");
    assert!(error.contains("append") && error.contains("administer"), "{error}");
    let error = wrong(&format!("{rule}rights = [\"read\"]\ntopic = [\"t\"]"));
    assert!(error.contains("topic") && error.contains("line 4"), "{error}");
    let error = wrong(&format!("{rule}rights = [\"send\"]\ntopics = [\"t\"]"));
    assert_eq!(error, "rule 1: gives send on nothing: it needs queues");
    let error = wrong(&format!("{rule}rights = [\"read\"]\ntopics = [\"a*b\"]"));
    assert!(error.contains("`a*b` in topics"), "{error}");
    assert!(wrong("").contains("no [[rule]]"));
    assert!(wrong("[[rule]]\nrights = [\"read\"]").contains("callers"));
}
