//! What was told, was muted afterwards, and is over; groups too large for one message.

use super::*;

fn silence(host: &str, from: i64, until: i64) -> serde_json::Value {
    serde_json::json!([{"id": "s", "matchers": [{"name": "host", "value": host, "isRegex": false}],
        "starts_at": from * S, "ends_at": until * S, "created_by": "x", "comment": "", "updated_at": 0}])
}

const RULE: &str = r#"{"rules": [{"alert": "A", "from": "events", "when": "true", "by": ["host"], "keep": "1m"}],
    "route": {"channel": "ops", "group_interval": "0s", "repeat": "1h"}}"#;

#[test]
fn the_end_of_what_was_told_is_told_even_if_it_is_muted_by_then() {
    let mut world = World::new(RULE);
    world.tick(0);
    world.observe(0, &[("A", Kind::Firing, "a", 1.0)]);
    assert_eq!(world.told(), [ops(1, Status::Firing)]);
    world.silence(silence("a", 0, 1000));
    // Another one of the group is told meanwhile.
    world.observe(5, &[("A", Kind::Firing, "b", 1.0)]);
    assert_eq!(world.told(), [ops(1, Status::Firing)]);
    world.tick(61);
    let (_, _, Message::Notification(notification)) = &world.sent[0] else { panic!() };
    assert_eq!(
        (notification.alerts[0].status, notification.alerts[0].labels["host"].as_str()),
        (Status::Resolved, "a")
    );
}

#[test]
fn what_was_told_before_a_silence_is_not_new_behind_it() {
    let mut world = World::new(RULE);
    for second in 0..300 {
        world.observe(second, &[("A", Kind::Firing, "a", 1.0)]);
        world.tick(second);
        if second == 10 {
            world.silence(silence("a", 0, 100));
        }
        if second == 20 {
            world.restart();
            world.silence(silence("a", 0, 100));
        }
    }
    assert_eq!(world.told(), [ops(1, Status::Firing)]);
}

#[test]
fn what_is_new_comes_first_in_a_group_that_is_too_large() {
    let mut world = World::new(RULE);
    let hosts: Vec<String> = (0..1500).map(|n| format!("h{n}")).collect();
    let all: Vec<_> = hosts.iter().map(|host| ("A", Kind::Firing, host.as_str(), 1.0)).collect();
    world.observe(0, &all);
    world.observe(1, &[("A", Kind::Firing, "new", 1.0)]);
    let Message::Notification(notification) = &world.sent[1].2 else { panic!() };
    assert_eq!((notification.alerts.len(), notification.truncated_alerts), (1000, 501));
    assert_eq!(notification.alerts[0].labels["host"], "new");
}

#[test]
fn a_reminder_has_a_key_of_its_own_whatever_came_between() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "A", "from": "events", "when": "true", "by": ["host"], "keep": "20s"}],
            "route": {"channel": "ops", "group_interval": "0s", "repeat": "1m"}}"#,
    );
    for second in 0..400 {
        world.observe(second, &[("A", Kind::Firing, "a", 1.0)]);
        // Another one comes and goes between two reminders.
        if second % 150 == 75 {
            world.observe(second, &[("A", Kind::Firing, "b", 1.0)]);
        }
        world.tick(second);
    }
    let keys: std::collections::BTreeSet<&String> = world.sent.iter().map(|(_, key, _)| key).collect();
    assert!(world.sent.len() > 6);
    assert_eq!(keys.len(), world.sent.len());
}
